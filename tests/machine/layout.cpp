// What a test needs of csrc to fill in a kernel's arguments, as a library that Python loads.
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>

#include "../../csrc/cuda/kernel.h"

namespace {

using ql::cuda::Arguments;
using ql::cuda::Task;
using ql::cuda::Tensor;

// "Struct.field offset size", or nothing if there is no such field.
#define FIELD(type, name)                                                                                                   \
  []<class T>(std::type_identity<T>) {                                                                                      \
    if constexpr (requires { &T::name; })                                                                                   \
      return std::string(#type "." #name " ") + std::to_string(offsetof(T, name)) + " " + std::to_string(sizeof(T::name)) + \
             "\n";                                                                                                          \
    else                                                                                                                    \
      return std::string();                                                                                                 \
  }(std::type_identity<type>{})
#define SIZE(type) std::string(#type " 0 ") + std::to_string(sizeof(type)) + "\n"

const std::string layout = SIZE(Arguments) + FIELD(Arguments, tensors) + FIELD(Arguments, tasks) + FIELD(Arguments, task_count) +
                           FIELD(Arguments, grads) + FIELD(Arguments, rows) + FIELD(Arguments, skip) +
                           FIELD(Arguments, found_inf) + FIELD(Arguments, statistics) + FIELD(Arguments, types) +
                           FIELD(Arguments, stores) + FIELD(Arguments, grads_at) + FIELD(Arguments, inline_bytes) + SIZE(Tensor) +
                           FIELD(Tensor, param) + FIELD(Tensor, states) + FIELD(Tensor, step) + FIELD(Tensor, size) +
                           FIELD(Tensor, offset) + FIELD(Tensor, key) + FIELD(Tensor, group) + FIELD(Tensor, noise) + SIZE(Task) +
                           FIELD(Task, tensor) + FIELD(Task, block);

// The numbers of ql::Hyper in the order of layout.py.
ql::Hyper make_hyper(const double* numbers, const int* choices) {
  ql::Hyper h;
  double* const fields[] = {
      &h.lr, &h.temperature, &h.weight_decay, &h.decoupled_weight_decay, &h.grad_resolution, &h.update_resolution};
  for (std::size_t i = 0; i < 6; ++i) *fields[i] = numbers[i];
  for (int i = 0; i < ql::kMaxRuleHypers; ++i) h.rule[i] = numbers[6 + i];
  h.noise = static_cast<ql::NoiseKind>(choices[0]);
  h.grad_rounding = static_cast<ql::GridRounding>(choices[1]);
  h.update_rounding = static_cast<ql::GridRounding>(choices[2]);
  h.stochastic_param = choices[3] != 0;
  h.stochastic_state = choices[4] != 0;
  h.corrected_param = choices[5] != 0;
  h.grad_blocks = choices[6] != 0;
  return h;
}

struct Query {
  const char* rule;
  const double* numbers;
  const int* choices;
  double multiplier;
  int64_t step;
  uint32_t chain;
  float compensation;
};

template <class... Rules, class Visit>
bool visit(ql::RuleList<Rules...>, const char* name, const Visit& found) {
  return ((std::strcmp(Rules::name, name) == 0 ? (found.template operator()<Rules>(), true) : false) || ...);
}

}  // namespace

extern "C" {

const char* machine_layout() {
  return layout.c_str();
}

// The rule whose kernel a rule runs.
const char* machine_kernel(const char* rule) {
  const char* name = "";
  visit(ql::AllRules{}, rule, [&]<class Rule> { name = Rule::Kernel::name; });
  return name;
}

// The bytes of a row; returns how many they are, 0 for an unknown rule.
int machine_row(const Query* query, unsigned char* bytes) {
  int size = 0;
  visit(ql::AllRules{}, query->rule, [&]<class Rule> {
    auto row = ql::make_row<Rule>(make_hyper(query->numbers, query->choices), query->multiplier, query->step, query->chain);
    row.common.compensation = query->compensation;
    size = sizeof(row);
    std::memcpy(bytes, &row, sizeof(row));
  });
  return size;
}
}
