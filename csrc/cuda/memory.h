// A group's elements to and from memory: as whole quads where it lies on 16 bytes; as quads around it, shifted, where it does
// not; element by element where a tensor begins or ends inside the group.
#pragma once

#include "../core/round.h"
#include "lanes.h"

namespace ql::cuda {

// How the groups of one row of a warp are moved; the same in all its lanes.
enum class Move { aligned, shifted, partial };

template <class T>
constexpr int kQuads = static_cast<int>(sizeof(typename T::Bits)) * kGroup / 16;

// A group as it lies in memory.
template <class T>
struct Packed {
  Quad quads[kQuads<T>];

  QL_HD uint32_t& word(int i) { return quads[i / 4].words[i % 4]; }
  QL_HD uint32_t word(int i) const { return quads[i / 4].words[i % 4]; }
  QL_HD typename T::Bits element(int i) const {
    if constexpr (kQuads<T> == 2) return word(i);
    return static_cast<typename T::Bits>(word(i / 2) >> 16 * (i % 2));
  }
};

// The elements [from, to) of a group that lie in the tensor.
struct Range {
  int from, to;
};

// The bytes from the multiple of 16 before an address to it.
QL_HD uint32_t shift_of(const char* address) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(address)) & 15u;
}

// Words to what lies `bytes` behind where they begin, a multiple of `unit`.
template <int count, int unit>
QL_HD void shift_words(uint32_t (&words)[count + 4], uint32_t bytes) {
  QL_UNROLL
  for (int i = 0; i < count + 2; ++i) words[i] = bytes & 8u ? words[i + 2] : words[i];
  QL_UNROLL
  for (int i = 0; i < count + 1; ++i) words[i] = bytes & 4u ? words[i + 1] : words[i];
  if constexpr (unit < 4) {
    QL_UNROLL
    for (int i = 0; i < count; ++i) words[i] = shift_pair(words[i], words[i + 1], (bytes & 2u) * 8u);
  }
}

template <class T>
QL_HD Packed<T> load_aligned(const char* address) {
  Packed<T> packed;
  QL_UNROLL
  for (int q = 0; q < kQuads<T>; ++q) packed.quads[q] = load_quad(address + 16 * q);
  return packed;
}

template <class T>
QL_HD Packed<T> load_shifted(const char* address) {
  const uint32_t shift = shift_of(address);
  if (shift == 0) return load_aligned<T>(address);
  uint32_t words[4 * kQuads<T> + 4];
  QL_UNROLL
  for (int q = 0; q <= kQuads<T>; ++q) {
    const Quad quad = load_quad_around(address - shift + 16 * q);
    QL_UNROLL
    for (int i = 0; i < 4; ++i) words[4 * q + i] = quad.words[i];
  }
  shift_words<4 * kQuads<T>, sizeof(typename T::Bits)>(words, shift);
  Packed<T> packed;
  QL_UNROLL
  for (int i = 0; i < 4 * kQuads<T>; ++i) packed.word(i) = words[i];
  return packed;
}

template <class T>
QL_HD Packed<T> load_partial(const char* address, Range range) {
  using Bits = typename T::Bits;
  uint32_t bits[kGroup];
  QL_UNROLL
  for (int i = 0; i < kGroup; ++i) {
    bits[i] = i >= range.from && i < range.to ? load_one(reinterpret_cast<const Bits*>(address) + i) : Bits{};
  }
  Packed<T> packed;
  QL_UNROLL
  for (int i = 0; i < 4 * kQuads<T>; ++i) packed.word(i) = kQuads<T> == 2 ? bits[i] : join_lower(bits[2 * i], bits[2 * i + 1]);
  return packed;
}

template <class T>
QL_HD Packed<T> load_group(T, const char* address, Move move, Range range) {
  if (move == Move::aligned) return load_aligned<T>(address);
  if (move == Move::shifted) return load_shifted<T>(address);
  return load_partial<T>(address, range);
}

template <class T>
QL_HD void store_partial(char* address, const Packed<T>& packed, Range range) {
  using Bits = typename T::Bits;
  QL_UNROLL
  for (int i = 0; i < kGroup; ++i) {
    if (i >= range.from && i < range.to) store_one(reinterpret_cast<Bits*>(address) + i, packed.element(i));
  }
}

// Every lane stores the quads that its group covers from the left on: the end of its neighbour's group and most of its own.
template <class T>
QL_HD void store_shifted(char* address, const Packed<T>& packed) {
  constexpr int count = 4 * kQuads<T>;
  constexpr uint32_t bytes = sizeof(typename T::Bits);
  const uint32_t shift = shift_of(address);
  if (shift == 0) {
    QL_UNROLL
    for (int q = 0; q < kQuads<T>; ++q) store_quad(address + 16 * q, packed.quads[q]);
    return;
  }
  uint32_t words[count + 4];
  QL_UNROLL
  for (int i = 0; i < 4; ++i) words[i] = hand_on(packed.word(count - 4 + i));
  QL_UNROLL
  for (int i = 0; i < count; ++i) words[4 + i] = packed.word(i);
  shift_words<count, bytes>(words, 16u - shift);
  const int lane = place().thread % kWarp;
  QL_UNROLL
  for (int q = 0; q < kQuads<T>; ++q) {
    if (q > 0 || lane > 0)
      store_quad(address - shift + 16 * q, {words[4 * q], words[4 * q + 1], words[4 * q + 2], words[4 * q + 3]});
  }
  // What no quad covers: the first lane's beginning and the last one's end, a bit for each element.
  if (lane == 0 || lane == kWarp - 1) {
    const uint32_t beginning = (1u << (16u - shift) / bytes) - 1u, end = 0xFF00u >> shift / bytes;
    const uint32_t mask = lane == 0 ? beginning : end;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      if (mask >> i & 1u) store_one(reinterpret_cast<typename T::Bits*>(address) + i, packed.element(i));
    }
  }
}

template <class T>
QL_HD void store_group(T, char* address, const Packed<T>& packed, Move move, Range range) {
  if (move == Move::aligned) {
    QL_UNROLL
    for (int q = 0; q < kQuads<T>; ++q) store_quad(address + 16 * q, packed.quads[q]);
  } else if (move == Move::shifted) {
    store_shifted<T>(address, packed);
  } else {
    store_partial<T>(address, packed, range);
  }
}

template <class T>
QL_HD Eight<float> unpack(T, const Packed<T>& packed) {
  Eight<uint32_t> bits;
  QL_UNROLL
  for (int i = 0; i < kGroup; ++i) {
    if constexpr (kQuads<T> == 2)
      bits[i] = packed.word(i);
    else
      bits[i] = i % 2 == 0 ? packed.word(i / 2) & 0xFFFFu : packed.word(i / 2) >> 16;
  }
  if constexpr (std::is_same_v<T, Float16>) {
    Eight<float> values;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) values[i] = widen_half(bits[i]);
    return values;
  } else {
    return widen<GroupLanes>(T{}, bits);
  }
}

// The values rounded to storage: to nearest,
template <class T>
QL_HD Packed<T> pack(T, const Eight<float>& values) {
  Packed<T> packed;
  QL_UNROLL
  for (int i = 0; i < 4 * kQuads<T>; ++i) {
    if constexpr (kQuads<T> == 2)
      packed.word(i) = bit_cast<uint32_t>(values[i]);
    else
      packed.word(i) = nearest_pair<T>(values[2 * i], values[2 * i + 1]);
  }
  return packed;
}

// or stochastically, by 16 random bits for each; binary32 is not rounded.
template <class T>
QL_HD Packed<T> pack(T type, const Eight<float>& values, const Eight<uint32_t>& half) {
  if constexpr (kQuads<T> == 2) return pack(type, values);
  constexpr bool upper = std::is_same_v<T, BFloat16>;
  Eight<uint32_t> bits;
  if constexpr (upper)
    bits = round_upper<GroupLanes>(T{}, values, true, half);
  else
    bits = round<GroupLanes>(T{}, values, true, half);
  Packed<T> packed;
  QL_UNROLL
  for (int i = 0; i < 4; ++i)
    packed.word(i) = upper ? join_upper(bits[2 * i], bits[2 * i + 1]) : join_lower(bits[2 * i], bits[2 * i + 1]);
  return packed;
}

}  // namespace ql::cuda
