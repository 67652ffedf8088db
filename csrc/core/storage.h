// Storage types as values: the types that a kernel was compiled for, which hold nothing, or one of several, which its launch
// names. Then each load, store and conversion is behind a branch that the whole launch takes alike; the bits are the same.
#pragma once

#include <type_traits>

#include "correct.h"

namespace ql {

// One of these types; a value that is none of them stands for the last.
template <class... Types>
struct OneOf {
  Storage value;
};

using AnyStorage = OneOf<Float32, BFloat16, Float16>;
using AnyState = OneOf<Float32, BFloat16>;

// What use() gives for the type that it is.
template <class T, class... Others, class Use>
QL_HD auto with_type(OneOf<T, Others...> type, const Use& use) {
  if constexpr (sizeof...(Others) > 0) {
    if (type.value != T::value) return with_type(OneOf<Others...>{type.value}, use);
  }
  return use(T{});
}

template <class T, class Use>
QL_HD auto with_type(T type, const Use& use) {
  return use(type);
}

// The type that a value names, as far as the compiler does not know it.
template <class T>
QL_HD T type_of(Storage value) {
  if constexpr (std::is_empty_v<T>)
    return {};
  else
    return {value};
}

// What the tensors of a launch are stored as.
struct StorageTypes {
  Storage param, grad, state;
};

// The same, as far as the compiler knows it.
template <class P, class G, class S>
struct StoredAs {
  P param;
  G grad;
  S state;

  QL_HD explicit StoredAs(const StorageTypes& types)
      : param(type_of<P>(types.param)), grad(type_of<G>(types.grad)), state(type_of<S>(types.state)) {}
};

template <class T>
QL_HD uint32_t bytes_of(T) {
  return sizeof(typename T::Bits);
}
template <class... Types>
QL_HD uint32_t bytes_of(OneOf<Types...> type) {
  return type.value == Storage::float32 ? 4 : 2;
}
template <class T>
QL_HD uint32_t bytes_of(T type, uint32_t elements) {
  return elements * bytes_of(type);
}

template <class L, class... Types>
QL_HD typename L::F widen(OneOf<Types...> type, typename L::U bits) {
  return with_type(type, [&](auto known) { return widen<L>(known, bits); });
}

template <class L, class... Types>
QL_HD typename L::U round(OneOf<Types...> type, typename L::F value, bool stochastic, typename L::U half) {
  return with_type(type, [&](auto known) { return round<L>(known, value, stochastic, half); });
}

template <class... Types>
QL_HD Grid grid_of(OneOf<Types...> type) {
  return with_type(type, [](auto known) { return ql::grid_of(known); });
}

}  // namespace ql
