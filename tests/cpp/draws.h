// One tile's draws put together from the parts of draw.h, in the order in which the kernels use them.
#pragma once

#include "../../csrc/core/draw.h"

namespace ql::test {

template <class L>
QL_HD void draw_part(const RoundKeys<L>& keys, Coordinates at, uint64_t first_group, uint32_t purpose, typename L::C (&c)[1][4]) {
  const uint32_t low = static_cast<uint32_t>(first_group), high = static_cast<uint32_t>(first_group >> 32);
  const GroupPart<L> groups[1] = {group_part<L>(keys, at, L::group_index() + L::splat_word(low))};
  const PurposePart purposes[1] = {purpose_part(at, high, purpose)};
  draw<L>(keys, groups, purposes, c);
}

// 32 bits for each element of the tile whose first group this is.
template <class L>
QL_HD void draw_words(Coordinates at, uint64_t first_group, uint32_t* words) {
  const RoundKeys<L> keys(at.key);
  typename L::C lower[1][4], upper[1][4];
  draw_part<L>(keys, at, first_group, Purpose::noise, lower);
  draw_part<L>(keys, at, first_group, Purpose::noise + 1, upper);
  L::store_words_draw(words, lower[0], upper[0]);
}

// 16 bits for each.
template <class L>
QL_HD void draw_halves(Coordinates at, uint64_t first_group, uint32_t purpose, uint32_t* words) {
  const RoundKeys<L> keys(at.key);
  typename L::C c[1][4];
  draw_part<L>(keys, at, first_group, purpose, c);
  L::store_halves_draw(words, c[0]);
}

}  // namespace ql::test
