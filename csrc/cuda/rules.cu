// The table of rules, and the kernels that are one for each rule or gradients' type.
#include <stdexcept>
#include <vector>

#include "prepare.h"
#include "squares.h"

namespace ql::cuda {
namespace {

template <class Rule>
StepKernel find_param(Storage param, Storage grad, Storage state, bool observed) {
  using Kernel = typename Rule::Kernel;
  if (param == Storage::float32) return find_step<Kernel, Float32>(grad, state, observed);
  if (param == Storage::bfloat16) return find_step<Kernel, BFloat16>(grad, state, observed);
  return find_step<Kernel, Float16>(grad, state, observed);
}

template <class Rule>
void write_row(const Hyper& hyper, double grad_multiplier, int64_t step, uint32_t chain, void* row) {
  const auto made = make_row<Rule>(hyper, grad_multiplier, step, chain);
  memcpy(row, &made, sizeof(made));
}

template <class... Rules>
std::vector<RuleEntry> list_rules(RuleList<Rules...>) {
  return {{Rules::name, sizeof(Row<typename Rules::Kernel>), prepare_kernel<Rules>, find_param<Rules>, write_row<Rules>}...};
}

}  // namespace

const RuleEntry& find_rule(const std::string& name) {
  static const std::vector<RuleEntry> rules = list_rules(AllRules{});
  std::string known;
  for (const RuleEntry& rule : rules) {
    if (name == rule.name) return rule;
    known += std::string(known.empty() ? "" : ", ") + rule.name;
  }
  throw std::invalid_argument("rule '" + name + "' is not one of: " + known);
}

SquaresKernel find_squares(Storage grad) {
  if (grad == Storage::float32) return squares_kernel<Float32>;
  if (grad == Storage::bfloat16) return squares_kernel<BFloat16>;
  return squares_kernel<Float16>;
}

}  // namespace ql::cuda
