// What a plan makes of its tensors before any step. No kernel is named here.
#include "plan.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "../core/norm.h"

namespace ql::cuda {
namespace {

constexpr size_t kAlignment = 256;
constexpr int64_t kLargestTensor = kNormBlock * kNormBlock * kNormBlock;  // three levels of sums

// Hands out consecutive parts of a plan's memory; without memory it only measures.
class Parts {
 public:
  explicit Parts(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class T>
  void take(T*& part, size_t count) {
    part = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

template <class T>
void copy_table(T* to, const std::vector<T>& from, Stream stream) {
  if (!from.empty()) copy_to_device(to, from.data(), from.size() * sizeof(T), stream);
}

}  // namespace

int64_t count_norms(int64_t places) {
  int64_t all = std::max<int64_t>(places, 1);
  while (places > 1) all += places = count_norm_blocks(places);
  return all;
}

Plan::Plan(Description description) : description_(std::move(description)), rule_(&find_rule(description_.rule)) {
  const Description& d = description_;
  if (d.places.size() != size() || (!d.steps.empty() && d.steps.size() != size()))
    throw std::invalid_argument("places and steps must name each tensor once");
  for (const Tensor& tensor : d.tensors) {
    if (tensor.group < 0 || tensor.group >= d.groups) throw std::invalid_argument("a tensor names no group");
    if (tensor.size < 0 || tensor.offset < 0) throw std::invalid_argument("sizes and offsets must not be negative");
    if (tensor.offset > std::numeric_limits<int64_t>::max() - tensor.size) throw std::invalid_argument("an offset is too large");
    if (tensor.size > kLargestTensor) throw std::invalid_argument("a tensor has more than 2^36 elements");
    if (d.steps.empty() == (tensor.step == nullptr)) throw std::invalid_argument("each tensor needs one counter");
  }
  if (rule_->find_step(d.types, {}) == nullptr)
    throw std::invalid_argument("rule '" + d.rule + "' has no kernel for these storage types");
  plan_tasks();
  bytes_ = lay_out(nullptr);
}

// Tasks, and how their numbers come to one of each tensor: directly, or over segments of kNormBlock tasks.
void Plan::plan_tasks() {
  const int32_t count = static_cast<int32_t>(size());
  for (int32_t i = 0; i < count; ++i) {
    const Tensor& tensor = description_.tensors[static_cast<size_t>(i)];
    const int64_t first = static_cast<int64_t>(tasks_.size());
    const int64_t blocks = tensor.size == 0 ? 0 : count_norm_blocks(tensor.size, tensor.offset);
    for (int64_t block = 0; block < blocks; ++block) tasks_.push_back({i, static_cast<uint32_t>(block)});
    gathers_.push_back({i, 1, description_.places[static_cast<size_t>(i)]});
    if (blocks <= kNormBlock) {
      folds_.push_back({first, static_cast<int32_t>(blocks), i});
      continue;
    }
    const int64_t segments = count_norm_blocks(blocks);
    if (segments > kNormBlock) throw std::invalid_argument("a tensor has more than 2^36 elements");
    last_folds_.push_back({count + segments_, static_cast<int32_t>(segments), i});
    for (int64_t at = 0; at < blocks; at += kNormBlock, ++segments_) {
      const int32_t part = static_cast<int32_t>(std::min(kNormBlock, blocks - at));
      folds_.push_back({first + at, part, static_cast<int32_t>(count + segments_)});
    }
  }
}

size_t Plan::lay_out(void* memory) {
  Parts parts(memory);
  parts.take(tables_.tensors, size());
  parts.take(tables_.tasks, tasks_.size());
  parts.take(tables_.folds, folds_.size());
  parts.take(tables_.last_folds, last_folds_.size());
  parts.take(tables_.gathers, size());
  parts.take(tables_.grads, size());
  parts.take(tables_.steps, size());
  parts.take(tables_.compensations, size() + 1);  // uploads are of 8 bytes
  parts.take(tables_.groups, static_cast<size_t>(description_.groups));
  parts.take(tables_.rows, size() * rule_->row_bytes);
  parts.take(tables_.squares, tasks_.size());
  parts.take(tables_.sums, static_cast<size_t>(sums_count()));
  return parts.used();
}

void Plan::place(void* memory, Stream stream) {
  const DeviceScope scope(description_.device);
  if (is_capturing(stream)) throw CudaError("a plan cannot be made while a graph is captured: take one such step before");
  lay_out(memory);
  copy_table(tables_.tensors, description_.tensors, stream);
  copy_table(tables_.tasks, tasks_, stream);
  copy_table(tables_.folds, folds_, stream);
  copy_table(tables_.last_folds, last_folds_, stream);
  copy_table(tables_.gathers, gathers_, stream);
  placed_ = true;
}

bool Plan::counters_fit() const {
  return std::all_of(description_.steps.begin(), description_.steps.end(),
                     [](const int64_t* step) { return *step >= 0 && *step < std::numeric_limits<uint32_t>::max(); });
}

bool Plan::places_fit(int64_t places) const {
  return std::all_of(description_.places.begin(), description_.places.end(),
                     [places](int32_t place) { return place >= 0 && place < places; });
}

void Plan::check(const StepInput& input, const Common& common) const {
  if (!placed_) throw std::invalid_argument("the plan has no memory on the device yet");
  if (input.grads.size() != size()) throw std::invalid_argument("one gradient for each tensor is needed");
  if (input.groups.size() != static_cast<size_t>(description_.groups))
    throw std::invalid_argument("one input for each group is needed");
  if (!input.compensations.empty() && input.compensations.size() != size())
    throw std::invalid_argument("one compensation for each tensor is needed, or none at all");
  if (common.found_inf != nullptr && !counts_on_device())
    throw std::invalid_argument("a step that the device may skip needs counters on the device");
  for (const Group& group : input.groups) {
    if (group.schedule != nullptr && (group.schedule_steps < 1 || common.overrun == nullptr))
      throw std::invalid_argument("a schedule needs a step, and a flag for its end");
  }
  for (const Tensor& tensor : description_.tensors) {  // other plans' groups may have it
    if (input.groups[static_cast<size_t>(tensor.group)].hyper.noise == NoiseKind::levy)
      throw std::invalid_argument("GPUs have no kernels of Levy noise");
  }
  if (!counters_fit()) throw std::overflow_error("a step counter left [0, 2^32 - 2]");
}

}  // namespace ql::cuda
