#include "plan.h"

#include <algorithm>
#include <limits>
#include <map>
#include <stdexcept>
#include <utility>

#include "../core/norm.h"
#include "../core/rules.h"
#include "../core/statistics.h"
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

// What the statistics of a tensor's blocks come to.
void fold_blocks(const double* blocks, int64_t count, double* tensor) {
  for (int statistic = 0; statistic < Statistic::count; ++statistic) {
    std::vector<double> values(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = blocks[i * Statistic::count + statistic];
    if (statistic == Statistic::largest_displacement)
      tensor[statistic] = *std::max_element(values.begin(), values.end());
    else
      tensor[statistic] = count == 1 ? values[0] : sum_fixed(std::move(values));
  }
}

template <class Rule>
struct Rows {
  std::vector<Row<typename Rule::Kernel>> rows;
  std::vector<int32_t> row_of;
};

// Tensors of one group at one step share a row.
template <class Rule>
Rows<Rule> make_rows(const Description& description, const StepInput& input) {
  Rows<Rule> made;
  made.row_of.resize(description.tensors.size());
  std::map<std::pair<int32_t, int64_t>, int32_t> known;
  std::pair<int32_t, int64_t> last;
  for (size_t i = 0; i < made.row_of.size(); ++i) {
    const std::pair<int32_t, int64_t> at{description.groups[i], *description.steps[i] + 1};
    if (i > 0 && at == last) {
      made.row_of[i] = made.row_of[i - 1];
      continue;
    }
    last = at;
    const auto [entry, inserted] = known.try_emplace(at, static_cast<int32_t>(made.rows.size()));
    if (inserted) {
      const size_t group = static_cast<size_t>(at.first);
      made.rows.push_back(make_row<Rule>(input.hypers[group], input.grad_multipliers[group], at.second, input.chain));
    }
    made.row_of[i] = entry->second;
  }
  return made;
}

// Levy noise has a law where it moves the parameter alone, and no variance that rounding could be taken out of.
void check_levy(const std::string& rule, const Hyper& hyper, double tail_index) {
  if (rule != "plain" || hyper.corrected_param) throw std::invalid_argument("Levy noise is for rule 'plain', not corrected");
  if (!(tail_index > 1.0 && tail_index <= 2.0)) throw std::invalid_argument("Levy noise needs a tail index in (1, 2]");
}

// The tail index of each tensor; empty if there are none.
std::vector<double> spread_tail_indices(const Description& description, const StepInput& input) {
  std::vector<double> of_tensors;
  if (input.tail_indices.empty()) return of_tensors;
  for (const int32_t group : description.groups) of_tensors.push_back(input.tail_indices[static_cast<size_t>(group)]);
  return of_tensors;
}

}  // namespace

std::vector<double> Plan::square_grads(const std::vector<const void*>& grads, int threads) const {
  if (grads.size() != size()) throw std::invalid_argument("one gradient for each tensor is needed");
  const SquareRange square = path_->find_squares(description_.types.grad);
  const int64_t bytes = description_.types.grad == Storage::float32 ? 4 : 2;
  std::vector<double> blocks(static_cast<size_t>(first_block_.back()));
  run_tasks(threads, static_cast<int64_t>(tasks_.size()) - 1, [&](int64_t task) {
    for (int64_t i = tasks_[static_cast<size_t>(task)]; i < tasks_[static_cast<size_t>(task) + 1]; ++i) {
      const Chunk& chunk = chunks_[static_cast<size_t>(i)];
      const int64_t offset = description_.tensors[static_cast<size_t>(chunk.tensor)].offset;
      const int64_t first = offset + chunk.begin, last = offset + chunk.end;
      const auto* memory = static_cast<const char*>(grads[static_cast<size_t>(chunk.tensor)]) - offset * bytes;
      for (int64_t block = first / kNormBlock; block * kNormBlock < last; ++block) {
        const int64_t begin = block * kNormBlock, from = std::max(first, begin), to = std::min(last, begin + kNormBlock);
        const int64_t at = first_block_[static_cast<size_t>(chunk.tensor)] + block - offset / kNormBlock;
        blocks[static_cast<size_t>(at)] = square(memory + from * bytes, from - begin, to - begin);
      }
    }
  });
  std::vector<double> sums(size());
  for (size_t i = 0; i < size(); ++i) {
    const auto begin = blocks.begin() + first_block_[i], end = blocks.begin() + first_block_[i + 1];
    sums[i] = end - begin == 1 ? *begin : sum_fixed(std::vector<double>(begin, end));
  }
  return sums;
}

Plan::Plan(Description description)
    : description_(std::move(description)), path_(&choose_path(description_.cpu)), kernel_(nullptr), observed_kernel_(nullptr) {
  const Description& d = description_;
  if (d.groups.size() != d.tensors.size() || d.steps.size() != d.tensors.size()) {
    throw std::invalid_argument("groups and steps must name each tensor once");
  }
  visit_rule(AllRules{}, d.rule, [&]<class Rule>(int index) {
    kernel_ = path_->find(index, d.types, false);
    observed_kernel_ = path_->find(index, d.types, true);
    for (const Tensor& tensor : d.tensors) {
      const auto missing = std::count(tensor.states, tensor.states + Rule::states, nullptr);
      if (missing > 0 && tensor.size > 0) throw std::invalid_argument("a tensor lacks a state of rule '" + d.rule + "'");
    }
  });
  if (kernel_ == nullptr) throw std::invalid_argument("rule '" + d.rule + "' has no kernel for these storage types");
  std::vector<Extent> extents;
  int64_t elements = 0;
  first_block_.push_back(0);
  for (const Tensor& tensor : d.tensors) {
    extents.push_back({tensor.size, tensor.offset});
    elements += tensor.size;
    first_block_.push_back(first_block_.back() + count_norm_blocks(tensor.size, tensor.offset));
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
  if (!input.compensations.empty() && input.compensations.size() != description_.tensors.size())
    throw std::invalid_argument("one compensation for each tensor is needed, or none at all");
  if (!input.tail_indices.empty() && input.tail_indices.size() != input.hypers.size())
    throw std::invalid_argument("one tail index for each group is needed, or none at all");
  for (const int32_t group : description_.groups) {
    if (group < 0 || static_cast<size_t>(group) >= input.hypers.size()) throw std::invalid_argument("a tensor names no group");
    const Hyper& hyper = input.hypers[static_cast<size_t>(group)];
    if (hyper.noise != NoiseKind::levy) continue;
    check_levy(description_.rule, hyper, input.tail_indices.empty() ? 0.0 : input.tail_indices[static_cast<size_t>(group)]);
  }
  if (!counters_fit()) throw std::overflow_error("a step counter left [0, 2^32 - 2]");
}

void Plan::run(const StepInput& input, const Observer* observer) const {
  check(input);
  const DefaultFloatEnvironment environment;  // a small lr must not be flushed when it is rounded to binary32
  visit_rule(AllRules{}, description_.rule, [&]<class Rule>(int) {
    const Rows<Rule> made = make_rows<Rule>(description_, input);
    const float* compensations = input.compensations.empty() ? nullptr : input.compensations.data();
    const std::vector<double> tail_indices = spread_tail_indices(description_, input);
    const Kernel kernel = observer == nullptr ? kernel_ : observed_kernel_;
    const Launch launch{description_.types,
                        description_.tensors.data(),
                        input.grads.data(),
                        made.row_of.data(),
                        made.rows.data(),
                        compensations,
                        observer,
                        chunks_.data(),
                        tail_indices.empty() ? nullptr : tail_indices.data()};
    run_tasks(input.threads, static_cast<int64_t>(tasks_.size()) - 1,
              [&](int64_t task) { kernel(launch, tasks_[static_cast<size_t>(task)], tasks_[static_cast<size_t>(task) + 1]); });
  });
}

std::vector<double> Plan::run_observed(const StepInput& input, bool stores) const {
  std::vector<double> blocks(static_cast<size_t>(first_block_.back()) * Statistic::count);
  const Observer observer{stores, blocks.data(), first_block_.data()};
  run(input, &observer);
  std::vector<double> statistics(size() * Statistic::count);
  for (size_t i = 0; i < size(); ++i) {
    fold_blocks(blocks.data() + first_block_[i] * Statistic::count, first_block_[i + 1] - first_block_[i],
                statistics.data() + i * Statistic::count);
  }
  return statistics;
}

void Plan::advance() {
  for (int64_t* step : description_.steps) ++*step;
}

void Plan::step(const StepInput& input) {
  run(input, nullptr);
  advance();
}

std::vector<double> Plan::step_observed(const StepInput& input) {
  std::vector<double> statistics = run_observed(input, true);
  advance();
  return statistics;
}

std::vector<double> Plan::look_ahead(const StepInput& input) const {
  return run_observed(input, false);
}

}  // namespace ql::cpu
