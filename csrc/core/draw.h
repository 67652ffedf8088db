// Coordinates -> everything random that one tile of elements needs (numerics.md section 2).
//
// Elements go in groups of 8. The counter of a draw is (low 32 bits of the group; its high 16 bits and 16 bits of purpose;
// step; chain), the key is the tensor's. A draw of words gives 32 bits to each of 4 elements, so a group takes two (purposes
// 0 and 1); a draw of halves gives 16 bits to each of 8: word i holds elements 2i (low half) and 2i + 1 (high half).
//
// Step and chain are the same for all counters, so Philox's first rounds fall apart: after two of them, two words know only
// the group's low bits, one only the purpose and the group's high bits, and the fourth is the sum of both kinds. The first
// kind (GroupPart) is computed once for all purposes of a tile, the second (PurposePart) once for all tiles of a chunk.
#pragma once

#include "philox.h"

namespace ql {

struct Purpose {
  enum : uint32_t {
    noise = 0,  // 1 is the upper half of a group's words
    param_rounding = 2,
    grad_quantizer = 3,
    update_quantizer = 4,
    state_rounding = 8,  // 8 + k for state k
    levy = 16,           // the second words of Levy noise, as those of noise: 17 is the upper half
  };
};

struct Coordinates {
  PhiloxKey key;
  uint32_t step, chain;

  QL_HD Coordinates next() const { return {key, step + 1, chain}; }
};

constexpr int kGroup = 8;

// A tile is what one Philox call of halves covers: one group for each counter of a lane value.
template <class L>
constexpr int kTile = kGroup * L::counters;

// After round 2: (c0, c1, c2 ^ PurposePart::c2, PurposePart::c3).
template <class L>
struct GroupPart {
  typename L::C c0, c1, c2;
};

struct PurposePart {
  uint32_t c2, c3;
};

template <class L>
QL_HD GroupPart<L> group_part(const RoundKeys<L>& keys, Coordinates at, typename L::C group_low) {
  const auto p0 = L::multiply(group_low, kMultiplier0);
  const uint32_t c1 = at.step * kMultiplier1;
  const auto p1 = L::multiply(L::high(p0) ^ L::splat_word(at.chain ^ at.key.k1), kMultiplier1);
  return {L::high(p1) ^ (L::splat_word(c1) ^ keys.k0[1]), L::low(p1), L::low(p0)};
}

// What the second kind begins with, the same for all purposes.
QL_HD uint32_t purpose_base(Coordinates at, uint32_t group_high) {
  return static_cast<uint32_t>(static_cast<uint64_t>(at.step) * kMultiplier1 >> 32) ^ group_high ^ at.key.k0;
}

QL_HD PurposePart purpose_part(uint32_t base, PhiloxKey key, uint32_t purpose) {
  const uint64_t p0 = static_cast<uint64_t>(base ^ purpose << 16) * kMultiplier0;
  return {static_cast<uint32_t>(p0 >> 32) ^ (key.k1 + kWeyl1), static_cast<uint32_t>(p0)};
}

QL_HD PurposePart purpose_part(Coordinates at, uint32_t group_high, uint32_t purpose) {
  return purpose_part(purpose_base(at, group_high), at.key, purpose);
}

// The random words of N tiles for each of M purposes: c[m * N + n].
template <class L, int M, int N>
QL_HD void draw(const RoundKeys<L>& keys, const GroupPart<L> (&groups)[N], const PurposePart (&purposes)[M],
                typename L::C (&c)[M * N][4]) {
  QL_UNROLL
  for (int i = 0; i < M * N; ++i) {
    c[i][0] = groups[i % N].c0;
    c[i][1] = groups[i % N].c1;
    c[i][2] = groups[i % N].c2 ^ L::splat_word(purposes[i / N].c2);
    c[i][3] = L::splat_word(purposes[i / N].c3);
  }
  philox<L, M * N, 2>(keys, c);
}

}  // namespace ql
