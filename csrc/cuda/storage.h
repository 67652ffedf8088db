// Groups of elements of a type that the launch names (core/storage.h).
#pragma once

#include "../core/storage.h"
#include "memory.h"

namespace ql::cuda {

// What is moved has a width only: that of binary32, or else of the others.
template <class... Types, class Use>
QL_HD auto with_width(OneOf<Types...> type, const Use& use) {
  return with_type(OneOf<Float32, BFloat16>{type.value}, use);
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

}  // namespace ql::cuda
