// The parts of a step: what goes to the device, and the launches.
#include <algorithm>

#include "fold.h"
#include "plan.h"
#include "prepare.h"
#include "upload.h"

namespace ql::cuda {
namespace {

template <int words>
void upload_words(void* to, const char* from, size_t bytes, Stream stream) {
  UploadArguments<words> arguments{};
  arguments.to = static_cast<uint64_t*>(to);
  arguments.count = static_cast<int64_t>((bytes + 7) / 8);
  memcpy(arguments.values, from, bytes);
  launch(upload_kernel<words>, 1, kUploadThreads, stream, arguments);
}

void upload(void* to, const void* from, size_t bytes, Stream stream) {
  for (size_t at = 0; at < bytes;) {
    const size_t part = std::min<size_t>(bytes - at, 8 * kLargeUpload);
    char* here = static_cast<char*>(to) + at;
    const char* source = static_cast<const char*>(from) + at;
    if (part <= 8 * kSmallUpload)
      upload_words<kSmallUpload>(here, source, part, stream);
    else
      upload_words<kLargeUpload>(here, source, part, stream);
    at += part;
  }
}

bool is_known_to_the_host(const Group& group) {
  const bool numbers = group.lr.type == NumberType::none && group.temperature.type == NumberType::none;
  return numbers && group.schedule == nullptr && group.max_grad_norm == 0.0 && !group.compensates;
}

// The sum of a list in the fixed order, level by level; each level lies behind the one before. Returns where it ends up.
double* fold_list(double* list, int64_t count, const Common& common) {
  while (count > 1) {
    double* sums = list + count;
    const int64_t blocks = count_norm_blocks(count);
    launch(fold_kernel, blocks, kWarp, common.stream, FoldArguments{list, sums, nullptr, count, 1, 1, 1, common.found_inf});
    list = sums;
    count = blocks;
  }
  return list;
}

}  // namespace

// The step that the tensors of each group are at, if those of no group differ.
bool Plan::steps_agree(std::vector<int64_t>& steps) const {
  steps.assign(static_cast<size_t>(description_.groups), -1);
  for (size_t i = 0; i < size(); ++i) {
    int64_t& known = steps[static_cast<size_t>(description_.tensors[i].group)];
    if (known >= 0 && known != *description_.steps[i]) return false;
    known = *description_.steps[i];
  }
  return true;
}

// Makes the rows, one for each group, among the arguments if the host knows all about them and they fit.
bool Plan::make_inline_rows(const StepInput& input, const Common& common) {
  std::vector<int64_t> steps;
  const bool simple = !counts_on_device() && input.compensations.empty() && common.grad_scale == nullptr;
  if (!simple || rule_->row_bytes * input.groups.size() > kInlineBytes) return false;
  if (!std::all_of(input.groups.begin(), input.groups.end(), is_known_to_the_host) || !steps_agree(steps)) return false;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] < 0) continue;
    const Group& group = input.groups[i];
    rule_->make_row(group.hyper, group.grad_multiplier, steps[i] + 1, input.chain,
                    arguments_.inline_bytes + i * rule_->row_bytes);
  }
  return true;
}

// What the device makes the rows from, one for each tensor.
void Plan::put_scalars(const StepInput& input, const Common& common) {
  scalars_.tensors = tables_.tensors;
  scalars_.count = static_cast<int64_t>(size());
  scalars_.rows = tables_.rows;
  scalars_.chain = input.chain;
  scalars_.grad_scale = common.grad_scale;
  scalars_.found_inf = common.found_inf;
  scalars_.overrun = common.overrun;
  const size_t bytes = input.groups.size() * sizeof(Group);
  if (bytes <= sizeof(scalars_.inline_bytes)) {
    memcpy(scalars_.inline_bytes, input.groups.data(), bytes);
  } else {
    scalars_.groups = tables_.groups;
    upload(tables_.groups, input.groups.data(), bytes, common.stream);
  }
  if (!counts_on_device()) {
    std::vector<int64_t> steps;
    for (const int64_t* step : description_.steps) steps.push_back(*step + 1);
    scalars_.steps = tables_.steps;
    upload(tables_.steps, steps.data(), size() * sizeof(int64_t), common.stream);
  }
  if (!input.compensations.empty()) {
    scalars_.compensations = tables_.compensations;
    upload(tables_.compensations, input.compensations.data(), size() * sizeof(float), common.stream);
  }
}

// The gradients' addresses: among the arguments, from `used` bytes on, if they fit; else in the table.
void Plan::put_grads(const StepInput& input, size_t used, Stream stream) {
  const size_t at = (used + 7) / 8 * 8, bytes = size() * sizeof(void*);
  if (at + bytes <= kInlineBytes) {
    arguments_.grads_at = static_cast<int32_t>(at);
    if (bytes > 0) memcpy(arguments_.inline_bytes + at, input.grads.data(), bytes);
    return;
  }
  arguments_.grads = reinterpret_cast<const char* const*>(tables_.grads);
  captured_ = captured_ || is_capturing(stream);
  if (!captured_ && uploaded_grads_ == input.grads) return;
  uploaded_grads_.clear();  // if the upload fails
  upload(tables_.grads, input.grads.data(), bytes, stream);
  uploaded_grads_ = input.grads;
}

// norms: of gradients or displacements are wanted before the step.
void Plan::begin(const StepInput& input, const Common& common, bool norms) {
  arguments_ = {};
  scalars_ = {};
  arguments_.tensors = tables_.tensors;
  arguments_.tasks = tables_.tasks;
  arguments_.found_inf = common.found_inf;
  arguments_.types = description_.types;
  unusual_ = std::any_of(input.groups.begin(), input.groups.end(), [](const Group& group) { return is_unusual(group.hyper); });
  size_t used = 0;
  if (!norms && make_inline_rows(input, common)) {
    used = rule_->row_bytes * input.groups.size();
  } else {
    arguments_.rows = tables_.rows;
    put_scalars(input, common);
  }
  put_grads(input, norms ? kInlineBytes : used, common.stream);
}

// The tasks' numbers to those of the tensors, which are the first of `sums`.
void Plan::fold_tasks(const double* values, double* sums, int width, const Common& common) {
  FoldArguments arguments{values, sums, tables_.folds, 0, width, width, width, common.found_inf};
  launch(fold_kernel, static_cast<int64_t>(folds_.size()) * width, kWarp, common.stream, arguments);
  arguments.values = sums;
  arguments.folds = tables_.last_folds;
  launch(fold_kernel, static_cast<int64_t>(last_folds_.size()) * width, kWarp, common.stream, arguments);
}

void Plan::square_grads(const Common& common, double* by_place) {
  const SquaresArguments arguments{tables_.tensors, tables_.tasks, arguments_.grads, tables_.squares};
  launch(find_squares(description_.types.grad), static_cast<int64_t>(tasks_.size()), kWarp, common.stream, arguments);
  fold_tasks(tables_.squares, tables_.sums, 1, common);
  const FoldArguments gather{tables_.sums, by_place, tables_.gathers, 0, 1, 1, 1, common.found_inf};
  launch(fold_kernel, static_cast<int64_t>(size()), kWarp, common.stream, gather);
}

void Plan::launch_step(const Common& common, double* statistics, bool stores) {
  arguments_.statistics = statistics;
  arguments_.stores = stores;
  const StepKernel kernel = rule_->find_step(description_.types, {statistics != nullptr, unusual_});
  launch(kernel, static_cast<int64_t>(tasks_.size()), kWarp, common.stream, arguments_);
  if (statistics != nullptr) fold_tasks(statistics, statistics + statistics_at(), Statistic::count, common);
}

void Plan::look_ahead(const Common& common, double* statistics) {
  launch_step(common, statistics, false);
}

void Plan::gather_displacements(const Common& common, const double* statistics, double* by_place) {
  const double* squares = statistics + statistics_at() + Statistic::displacement_squares;
  const FoldArguments gather{squares, by_place, tables_.gathers, 0, 1, Statistic::count, 1, common.found_inf};
  launch(fold_kernel, static_cast<int64_t>(size()), kWarp, common.stream, gather);
}

// Makes the rows if the device has to. counts: the step is taken, not only looked at.
void Plan::prepare(const Common& common, const Known& known, bool counts) {
  if (arguments_.rows == nullptr) return;
  scalars_.grad_squares = known.grad_squares;
  scalars_.displacement_squares = known.displacement_squares;
  scalars_.statistics = known.ahead == nullptr ? nullptr : known.ahead + statistics_at();
  scalars_.counts = counts;
  const int64_t blocks = (static_cast<int64_t>(size()) + kPrepareThreads - 1) / kPrepareThreads;
  launch(rule_->prepare, blocks, kPrepareThreads, common.stream, scalars_);
}

void Plan::step(const Common& common, double* statistics) {
  launch_step(common, statistics, true);
  for (int64_t* step : description_.steps) ++*step;
}

namespace {

constexpr const char* kNoStatistics = "looking ahead needs memory for its statistics";

// A norm is over all places, so that each must be a tensor's.
void check_norms(const std::vector<Part>& parts, const Common& common, bool looks_ahead) {
  int64_t tensors = 0;
  for (const Part& part : parts) {
    tensors += static_cast<int64_t>(part.plan->size());
    if (!part.plan->places_fit(common.places)) throw std::invalid_argument("a tensor's place is not among those of the norms");
    if (looks_ahead && part.ahead == nullptr && part.plan->size() > 0) throw std::invalid_argument(kNoStatistics);
  }
  if (common.norms == nullptr || tensors != common.places)
    throw std::invalid_argument("norms need memory, and all their tensors");
}

}  // namespace

void step_together(const std::vector<Part>& parts, const Common& common) {
  bool clips = false, compensates = false;
  for (const Part& part : parts) {
    part.plan->check(*part.input, common);
    for (const Group& group : part.input->groups) {
      clips = clips || group.max_grad_norm != 0.0;
      compensates = compensates || group.compensates;
    }
  }
  if (parts.empty()) return;
  if (clips || compensates) check_norms(parts, common, compensates);
  const DeviceScope scope(parts[0].plan->description().device);
  double* list = common.norms;
  Known known{};
  for (const Part& part : parts) part.plan->begin(*part.input, common, clips || compensates);
  if (clips) {
    for (const Part& part : parts) part.plan->square_grads(common, list);
    known.grad_squares = fold_list(list, common.places, common);
    list += count_norms(common.places);
  }
  if (compensates) {
    for (const Part& part : parts) {
      part.plan->prepare(common, known, false);
      part.plan->look_ahead(common, part.ahead);
      part.plan->gather_displacements(common, part.ahead, list);
    }
    known.displacement_squares = fold_list(list, common.places, common);
  }
  for (const Part& part : parts) {
    known.ahead = compensates ? part.ahead : nullptr;
    part.plan->prepare(common, known, true);
    part.plan->step(common, part.observed);
  }
}

std::vector<double> square_grads(const Part& part, const Common& common) {
  part.plan->check(*part.input, common);
  if (common.norms == nullptr || !part.plan->places_fit(common.places)) throw std::invalid_argument("norms need memory");
  const DeviceScope scope(part.plan->description().device);
  part.plan->begin(*part.input, common, true);
  part.plan->square_grads(common, common.norms);
  std::vector<double> sums(part.plan->size());
  copy_to_host(sums.data(), part.plan->sums(), sums.size() * sizeof(double), common.stream);
  return sums;
}

std::vector<double> look_ahead(const Part& part, const Common& common) {
  part.plan->check(*part.input, common);
  if (part.ahead == nullptr && part.plan->size() > 0) throw std::invalid_argument(kNoStatistics);
  for (const Group& group : part.input->groups) {
    if (group.max_grad_norm != 0.0) throw std::invalid_argument("looking ahead takes no norm of the gradients to clip by");
  }
  const DeviceScope scope(part.plan->description().device);
  part.plan->begin(*part.input, common, true);
  part.plan->prepare(common, {}, false);
  part.plan->look_ahead(common, part.ahead);
  std::vector<double> statistics(part.plan->size() * Statistic::count);
  copy_to_host(statistics.data(), part.ahead + part.plan->statistics_at(), statistics.size() * sizeof(double), common.stream);
  return statistics;
}

}  // namespace ql::cuda
