#include "plan.h"

#include <algorithm>
#include <limits>
#include <map>
#include <stdexcept>
#include <utility>

#include "../core/norm.h"
#include "../core/round.h"
#include "../core/rules.h"
#include "float_environment.h"
#include "threads.h"

namespace ql::cpu {
namespace {

constexpr int64_t kChunkElements = 16384;  // 64 KiB of binary32: param, grad and state of a chunk fit the second-level cache
// Enough tasks for many threads, but long ones where there is enough work: a thread that goes on where it stopped keeps the
// memory's prefetchers going (momentum in binary32 over 32 M elements: 15 % faster than with tasks of a chunk).
constexpr int64_t kTasks = 64;
constexpr int64_t kMostTaskElements = 131072;
static_assert((kChunkElements & (kChunkElements - 1)) == 0, "a chunk's groups must share their high bits (draws.h)");

template <class Rule, class Visit>
bool visit_if(const std::string& name, int index, Visit& visit) {
  if (name != Rule::name) return false;
  visit.template operator()<Rule>(index);
  return true;
}

template <class... Rules, class Visit>
void visit_rule(RuleList<Rules...>, const std::string& name, Visit visit) {
  int index = 0;
  if ((visit_if<Rules>(name, index++, visit) || ...)) return;
  std::string known;
  ((known += std::string(known.empty() ? "" : ", ") + Rules::name), ...);
  throw std::invalid_argument("rule '" + name + "' is not one of: " + known);
}

// The sum of squares of one block of a gradient, whose elements are widened exactly.
template <class T>
double square_block(const void* grad, int64_t begin, int64_t count) {
  const auto* values = static_cast<const typename T::Bits*>(grad) + begin;
  return sum_block(count, [values](int64_t i) {
    const double value = widen<ScalarLanes>(T{}, values[i]);
    return value * value;
  });
}

double square_block(Storage type, const void* grad, int64_t begin, int64_t count) {
  if (type == Storage::float32) return square_block<Float32>(grad, begin, count);
  if (type == Storage::bfloat16) return square_block<BFloat16>(grad, begin, count);
  return square_block<Float16>(grad, begin, count);
}

}  // namespace

std::vector<double> Plan::square_grads(const std::vector<const void*>& grads, int threads) const {
  if (grads.size() != size()) throw std::invalid_argument("one gradient for each tensor is needed");
  std::vector<std::vector<double>> blocks(size());
  std::vector<std::pair<size_t, int64_t>> work;  // (tensor, block)
  for (size_t i = 0; i < size(); ++i) {
    blocks[i].resize(static_cast<size_t>(count_norm_blocks(description_.tensors[i].size)));
    for (int64_t block = 0; block < static_cast<int64_t>(blocks[i].size()); ++block) work.emplace_back(i, block);
  }
  run_tasks(threads, static_cast<int64_t>(work.size()), [&](int64_t task) {
    const auto [i, block] = work[static_cast<size_t>(task)];
    const int64_t begin = block * kNormBlock;
    const int64_t count = std::min(description_.tensors[i].size - begin, kNormBlock);
    blocks[i][static_cast<size_t>(block)] = square_block(description_.grad, grads[i], begin, count);
  });
  std::vector<double> sums;
  for (std::vector<double>& partials : blocks)
    sums.push_back(partials.size() == 1 ? partials[0] : sum_fixed(std::move(partials)));
  return sums;
}

Plan::Plan(Description description)
    : description_(std::move(description)), path_(&choose_path(description_.cpu)), kernel_(nullptr) {
  const Description& d = description_;
  if (d.groups.size() != d.tensors.size() || d.steps.size() != d.tensors.size()) {
    throw std::invalid_argument("groups and steps must name each tensor once");
  }
  visit_rule(AllRules{}, d.rule, [&]<class Rule>(int index) { kernel_ = path_->find(index, d.param, d.grad, d.state); });
  if (kernel_ == nullptr) throw std::invalid_argument("rule '" + d.rule + "' has no kernel for these storage types");
  std::vector<Extent> extents;
  int64_t elements = 0;
  for (const Tensor& tensor : d.tensors) {
    extents.push_back({tensor.size, tensor.offset});
    elements += tensor.size;
  }
  chunks_ = make_chunks(extents, kChunkElements);
  tasks_ = make_tasks(chunks_, std::clamp(elements / kTasks, kChunkElements, kMostTaskElements));
}

bool Plan::counters_fit() const {
  return std::all_of(description_.steps.begin(), description_.steps.end(),
                     [](const int64_t* step) { return *step >= 0 && *step < std::numeric_limits<uint32_t>::max(); });
}

void Plan::check(const StepInput& input) const {
  if (input.grads.size() != description_.tensors.size()) throw std::invalid_argument("one gradient for each tensor is needed");
  if (input.hypers.size() != input.grad_multipliers.size())
    throw std::invalid_argument("one multiplier for each group is needed");
  for (const int32_t group : description_.groups) {
    if (group < 0 || static_cast<size_t>(group) >= input.hypers.size()) throw std::invalid_argument("a tensor names no group");
  }
  if (!counters_fit()) throw std::overflow_error("a step counter left [0, 2^32 - 2]");
}

template <class Rule>
void Plan::step_rule(const StepInput& input) {
  const size_t count = description_.tensors.size();
  std::vector<Row<Rule>> rows;
  std::vector<int32_t> row_of(count);
  std::map<std::pair<int32_t, int64_t>, int32_t> known;  // tensors of one group at one step share a row
  std::pair<int32_t, int64_t> last;
  for (size_t i = 0; i < count; ++i) {
    const std::pair<int32_t, int64_t> at{description_.groups[i], *description_.steps[i] + 1};
    if (i > 0 && at == last) {
      row_of[i] = row_of[i - 1];
      continue;
    }
    last = at;
    const auto [entry, inserted] = known.try_emplace(at, static_cast<int32_t>(rows.size()));
    if (inserted) {
      const size_t group = static_cast<size_t>(at.first);
      rows.push_back(make_row<Rule>(input.hypers[group], input.grad_multipliers[group], at.second, input.chain));
    }
    row_of[i] = entry->second;
  }
  const Launch launch{description_.tensors.data(), input.grads.data(), row_of.data(), rows.data(), chunks_.data()};
  run_tasks(input.threads, static_cast<int64_t>(tasks_.size()) - 1,
            [&](int64_t task) { kernel_(launch, tasks_[static_cast<size_t>(task)], tasks_[static_cast<size_t>(task) + 1]); });
  for (int64_t* step : description_.steps) ++*step;
}

void Plan::step(const StepInput& input) {
  check(input);
  const DefaultFloatEnvironment environment;  // a small lr must not be flushed when it is rounded to binary32
  visit_rule(AllRules{}, description_.rule, [&]<class Rule>(int) { this->template step_rule<Rule>(input); });
}

}  // namespace ql::cpu
