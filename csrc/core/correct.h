// The variance-corrected quantizer of low-precision Langevin dynamics (Zhang, Wilson, De Sa, ICML 2022, algorithm 2), on the grid
// of a storage type: a value with the mean and the variance that the unrounded one would have, where rounding stochastically
// would add its own variance to the noise's.
#pragma once

#include "quantize.h"
#include "root.h"
#include "round.h"

namespace ql {

// A storage type's grid: the spacing of 1, the least spacing, and how many spacings the end of a binade is from 0; zeros for
// binary32, whose rounding is far below any noise.
struct Grid {
  float of_one, least, top;
};

QL_HD Grid grid_of(Float32) {
  return {0.0f, 0.0f, 0.0f};
}

QL_HD Grid grid_of(BFloat16) {
  return {0x1p-7f, 0x1p-126f, 256.0f};  // less than 2^-126 would be the spacing of numbers that are 0 to any noise
}

QL_HD Grid grid_of(Float16) {
  return {0x1p-10f, 0x1p-24f, 2048.0f};
}

// The distance of the grid's neighbours at a magnitude.
template <class L>
QL_HD typename L::F spacing_of(Grid grid, typename L::F magnitude) {
  const typename L::F spacing = L::float_of(L::bits_of(magnitude) & 0x7F800000u) * grid.of_one;
  return L::select(spacing > grid.least, spacing, L::float_of(L::splat(bit_cast<uint32_t>(grid.least))));
}

// In units of the spacing: noise wider than half of it is added, less what rounding to nearest and a further step of 1 to either
// side will add; the probabilities of that step make up for the error of rounding. Beyond the binade every other place is stored:
// the next one on the side that rounding came from, as likely either.
template <class L>
QL_HD typename L::F correct_wide(typename L::F y, typename L::F variance, typename L::F noise, typename L::F unit, float top) {
  using F = typename L::F;
  const F excess = variance - 0.25f;
  const F x = y + excess * inverse_root<L>(excess) * noise;
  const F q = even_of<L>(x);
  const F error = L::magnitude(x - q);
  const F towards = (error + 0.5f) * (error + 0.5f) * 0.5f;
  const F away = (0.5f - error) * (0.5f - error) * 0.5f;
  const F step = one_if<L>(towards > unit) - one_if<L>(unit > 1.0f - away);
  const F side = one_if<L>(x - q < 0.0f) * -2.0f + 1.0f;
  const F place = q + step * side;
  const F stored = L::select(even_of<L>(place * 0.5f) * 2.0f == place, place, place + side);
  return L::select(L::magnitude(place) > top, stored, place);
}

// Narrower noise: y >= 0 is rounded stochastically, and where that brings less variance than the noise has, a step of 1 follows
// to either side; from the end of the binade 2 up, a third as often, or 1 down, two thirds as often. One uniform value decides.
template <class L>
QL_HD typename L::F correct_narrow(typename L::F y, typename L::F variance, typename L::F unit, float top) {
  using F = typename L::F;
  const F q = floor_of<L>(y);
  const F above = y - q, below = 1.0f - above;
  const F missing = variance - above * below;
  const F p = L::select(missing > 0.0f, missing, L::float_of(L::splat(0u))) * 0.5f;
  const F end = one_if<L>(q == top - 1.0f);
  const F furthest = above * p * (1.0f - end * 0x1.555556p-1f);
  const F first = below * p;
  const F second = first + below * (1.0f - 2.0f * p) + above * p * (1.0f - end * 0x1.555556p-2f);
  return q - 1.0f + one_if<L>(unit > first) + one_if<L>(unit > second) + one_if<L>(unit > 1.0f - furthest) * (1.0f + end);
}

// scale: of the noise, which has variance 1. half: 16 random bits. Values beyond 2^126, Inf and NaN are not corrected.
template <class L, class T>
QL_HD typename L::F correct(T type, typename L::F mean, typename L::F scale, typename L::F noise, typename L::U half) {
  using F = typename L::F;
  const Grid grid = grid_of(type);
  if (grid.top == 0.0f) return mean + scale * noise;
  const F magnitude = L::magnitude(mean), reach = magnitude + scale * 5.0f;
  const F finest = spacing_of<L>(grid, magnitude);
  const F spacing = L::select(scale > finest, spacing_of<L>(grid, reach), finest);
  const F inverse = L::float_of(L::splat(0x7F000000u) - L::bits_of(spacing));
  const F deviation = scale * inverse, unit = unit_of<L>(half);
  const F variance = deviation * deviation;
  const F wide = correct_wide<L>(mean * inverse, variance, noise, unit, grid.top);
  const F narrow = correct_narrow<L>(magnitude * inverse, variance, unit, grid.top);
  const F corrected = L::select(variance > 0.25f, wide, L::select(mean < 0.0f, -narrow, narrow)) * spacing;
  return L::select(reach < 0x1p126f, corrected, mean + scale * noise);
}

}  // namespace ql
