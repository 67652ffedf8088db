// Coordinates -> everything random that one tile of elements needs (numerics.md section 2).
//
// Elements go in groups of 8. The counter of a draw is (low 32 bits of the group; its high 16 bits and 16 bits of purpose;
// step; chain), the key is the tensor's. A draw of words gives 32 bits to each of 4 elements, so a group takes two (purposes
// 0 and 1); a draw of halves gives 16 bits to each of 8: word i holds elements 2i (low half) and 2i + 1 (high half).
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
  };
};

struct Coordinates {
  PhiloxKey key;
  uint32_t step, chain;
};

constexpr int kGroup = 8;

// A tile is what one Philox call of halves covers: one group for each counter of a lane value.
template <class L>
constexpr int kTile = kGroup * L::counters;

template <class L>
QL_HD void set_counter(typename L::C (&c)[4], Coordinates at, typename L::C c0, typename L::C c1) {
  c[0] = c0;
  c[1] = c1;
  c[2] = L::splat_word(at.step);
  c[3] = L::splat_word(at.chain);
}

// Two draws of words cover a tile; in the quads' order purposes 0 and 1 alternate.
template <class L>
QL_HD void draw_words(Coordinates at, uint64_t first_group, uint32_t* words) {
  typename L::C c[2][4];
  QL_UNROLL
  for (uint32_t n = 0; n < 2; ++n) {
    const auto quad = L::quad_index() + n * L::counters;
    const auto group = (quad >> 1) + first_group;
    set_counter<L>(c[n], at, L::word_of(group), L::word_of((group >> 32) | (quad & 1) << 16));
  }
  philox<L>(at.key, c);
  QL_UNROLL
  for (int n = 0; n < 2; ++n) L::store_quads(words + n * 4 * L::counters, c[n]);
}

// One draw of halves for each of N purposes covers a tile.
template <class L, int N>
QL_HD void draw_halves(Coordinates at, uint64_t first_group, const uint32_t (&purpose)[N], uint32_t* const (&words)[N]) {
  typename L::C c[N][4];
  QL_UNROLL
  for (int n = 0; n < N; ++n) {
    const auto group = L::quad_index() + first_group;
    set_counter<L>(c[n], at, L::word_of(group), L::word_of(group >> 32) | purpose[n] << 16);
  }
  philox<L>(at.key, c);
  QL_UNROLL
  for (int n = 0; n < N; ++n) L::store_quads(words[n], c[n]);
}

}  // namespace ql
