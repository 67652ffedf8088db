// Storage types as values: the types that a kernel was compiled for, which hold nothing, or one of several, which its launch
// names. Then each load, store and conversion is behind a branch that the whole launch takes alike; the bits are the same.
#pragma once

#include "../core/correct.h"
#include "memory.h"

namespace ql::cuda {

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

// What is moved has a width only: that of binary32, or else of the others.
template <class... Types, class Use>
QL_HD auto with_width(OneOf<Types...> type, const Use& use) {
  return with_type(OneOf<Float32, BFloat16>{type.value}, use);
}

// The type that a value names, as far as the compiler does not know it.
template <class T>
QL_HD T type_of(Storage value) {
  if constexpr (std::is_empty_v<T>)
    return {};
  else
    return {value};
}

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

// A group of any type, as it lies in memory; one of 16 bits an element fills the first quad.
template <class... Types>
struct Packed<OneOf<Types...>> {
  Quad quads[2];

  Packed() = default;
  template <class T>
  QL_HD explicit Packed(const Packed<T>& packed) : quads{} {
    QL_UNROLL
    for (int q = 0; q < kQuads<T>; ++q) quads[q] = packed.quads[q];
  }
  template <class T>
  QL_HD Packed<T> as(T) const {
    Packed<T> packed;
    QL_UNROLL
    for (int q = 0; q < kQuads<T>; ++q) packed.quads[q] = quads[q];
    return packed;
  }
};

template <class... Types>
QL_HD auto load_group(OneOf<Types...> type, const char* address, Move move, Range range) {
  using Any = Packed<OneOf<Types...>>;
  return with_width(type, [&](auto known) { return Any(load_group(known, address, move, range)); });
}

template <class... Types>
QL_HD void store_group(OneOf<Types...> type, char* address, const Packed<OneOf<Types...>>& packed, Move move, Range range) {
  with_width(type, [&](auto known) { store_group(known, address, packed.as(known), move, range); });
}

template <class... Types>
QL_HD Eight<float> unpack(OneOf<Types...> type, const Packed<OneOf<Types...>>& packed) {
  return with_type(type, [&](auto known) { return unpack(known, packed.as(known)); });
}

template <class... Types>
QL_HD auto pack(OneOf<Types...> type, const Eight<float>& values) {
  return with_type(type, [&](auto known) { return Packed<OneOf<Types...>>(pack(known, values)); });
}

template <class... Types>
QL_HD auto pack(OneOf<Types...> type, const Eight<float>& values, const Eight<uint32_t>& half) {
  return with_type(type, [&](auto known) { return Packed<OneOf<Types...>>(pack(known, values, half)); });
}

template <class... Types>
QL_HD Grid grid_of(OneOf<Types...> type) {
  return with_type(type, [](auto known) { return ql::grid_of(known); });
}

}  // namespace ql::cuda
