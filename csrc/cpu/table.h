// Which kernel takes a step. Included once per instruction set.
#pragma once

#include "step.h"

namespace ql::cpu {

// Most steps are not observed, and torch wants gradients of their parameter's type: their kernels know all types.
template <class L, class Rule, class P, class S>
void step_typed(const Launch& launch, int64_t first, int64_t last) {
  const StoredAs<P, P, S> types(launch.types);
  for (int64_t i = first; i < last; ++i) {
    const Chunk& chunk = launch.chunks[i];
    Kind kind = Kind::any;
    if constexpr (L::width >= 8) {
      const Scalars& s = row_at<Rule>(launch, chunk).common;
      kind = kind_of<Rule>(types, s, is_noisy(launch, chunk, s));
      const bool compensates = launch.compensations != nullptr && launch.compensations[chunk.tensor] != 0.0f;
      if (kind == Kind::langevin && compensates) kind = Kind::any;
      if (kind == Kind::plain) step_chunk<Kind::plain, L, Rule, P, P, S>(launch, chunk);
      if (kind == Kind::langevin) step_chunk<Kind::langevin, L, Rule, P, P, S>(launch, chunk);
    }
    if (kind == Kind::any) step_chunk<Kind::any, L, Rule, P, P, S>(launch, chunk);
  }
}

// All other steps read the types from their launch.
template <Kind kind, class L, class Rule>
void step_any(const Launch& launch, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) step_chunk<kind, L, Rule, AnyStorage, AnyStorage, AnyState>(launch, launch.chunks[i]);
}

template <class L, class Rule>
void step_observed(const Launch& launch, int64_t first, int64_t last) {
  if (launch.observer->stores)
    step_any<Kind::observed, L, Rule>(launch, first, last);
  else
    step_any<Kind::ahead, L, Rule>(launch, first, last);
}

template <class L, class Rule, class P>
Kernel find_typed(Storage state) {
  if constexpr (Rule::states > 0) {
    if (state == Storage::bfloat16) return step_typed<L, Rule, P, BFloat16>;
  }
  return step_typed<L, Rule, P, Float32>;
}

template <class L, class Rule>
Kernel find_kernel_of(StorageTypes types, bool observed) {
  if (Rule::states > 0 && types.state == Storage::float16) return nullptr;
  if (observed) return step_observed<L, Rule>;
  if (types.param != types.grad) return step_any<Kind::any, L, Rule>;
  if (types.param == Storage::float32) return find_typed<L, Rule, Float32>(types.state);
  if (types.param == Storage::bfloat16) return find_typed<L, Rule, BFloat16>(types.state);
  return find_typed<L, Rule, Float16>(types.state);
}

template <class L, class... Rules>
Kernel find_rule(RuleList<Rules...>, int rule, StorageTypes types, bool observed) {
  Kernel found = nullptr;
  int index = 0;
  ((index++ == rule ? void(found = find_kernel_of<L, typename Rules::Kernel>(types, observed)) : void()), ...);
  return found;
}

template <class L>
Kernel find_kernel(int rule, StorageTypes types, bool observed) {
  return find_rule<L>(AllRules{}, rule, types, observed);
}

}  // namespace ql::cpu
