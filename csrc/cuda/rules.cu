// The table of rules, and the kernels that are one for each rule or gradients' type.
#include <stdexcept>
#include <vector>

#include "prepare.h"
#include "squares.h"

namespace ql::cuda {
namespace {

template <class Rule>
StepKernel find_step(StorageTypes types, StepKind kind) {
  using Kernel = typename Rule::Kernel;
  if (Rule::states > 0 && types.state == Storage::float16) return nullptr;
  if (!kind.observed && !kind.unusual && types.grad == types.param) return find_typed_step<Kernel>(types);
  return find_any_step<Kernel>(kind.observed, kind.unusual);
}

template <class Rule>
void write_row(const Hyper& hyper, double grad_multiplier, int64_t step, uint32_t chain, void* row) {
  const auto made = make_row<Rule>(hyper, grad_multiplier, step, chain);
  memcpy(row, &made, sizeof(made));
}

template <class... Rules>
std::vector<RuleEntry> list_rules(RuleList<Rules...>) {
  return {{Rules::name, sizeof(Row<typename Rules::Kernel>), prepare_kernel<Rules>, find_step<Rules>, write_row<Rules>}...};
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
