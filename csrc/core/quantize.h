// A value to a grid of spacing 1 / resolution, one for all elements or for each block of them (numerics.md section 5).
#pragma once

#include "lanes.h"

namespace ql {

enum class GridRounding : int32_t { off = 0, nearest = 1, stochastic = 2, floor = 3, dither = 4 };

template <class L, class Mask>
QL_HD typename L::F one_if(Mask mask) {
  return L::select(mask, L::float_of(L::splat(0x3F800000u)), L::float_of(L::splat(0u)));
}

// The nearest integer for |y| < 2^22, ties to even: adding 1.5 * 2^23 leaves no fractional bits.
template <class L>
QL_HD typename L::F even_of(typename L::F y) {
  return (y + 12582912.0f) - 12582912.0f;
}

// floor(y). Library floors flush subnormals on some backends.
template <class L>
QL_HD typename L::F floor_of(typename L::F y) {
  const typename L::F t = even_of<L>(y);
  return t - one_if<L>(t > y);
}

// (half + 1/2) / 2^16: a uniform value in (0, 1) that is never on the edge, so that on-grid values never move.
template <class L>
QL_HD typename L::F unit_of(typename L::U half) {
  return (L::float_of(half | 0x4B000000u) - 8388607.5f) * 0x1p-16f;
}

// Whether a rounding reads random bits.
QL_HD bool draws(GridRounding rounding) {
  return rounding == GridRounding::stochastic || rounding == GridRounding::dither;
}

// resolution, spacing: of all lanes, or of each. half: gives 16 random bits; called only where the rounding reads them.
template <class L, class Scale, class Half>
QL_HD typename L::F quantize(typename L::F x, GridRounding rounding, Scale resolution, Scale spacing, const Half& half) {
  using F = typename L::F;
  const F y = x * resolution;
  F q;
  if (rounding == GridRounding::dither) {
    const F u = unit_of<L>(half()) - 0.5f;
    q = floor_of<L>(y + u + 0.5f) - u;
  } else if (rounding == GridRounding::nearest) {
    q = even_of<L>(y);
    q = q + one_if<L>(y - q >= 0.5f);  // of ties only those that went down: floor(y + 1/2)
  } else {
    q = floor_of<L>(y);
    if (rounding == GridRounding::stochastic) q = q + one_if<L>(y - q > unit_of<L>(half()));
  }
  // From 2^22 on the grid is finer than the number; Inf and NaN fail the comparison and pass as well.
  return L::select(L::magnitude(y) < 4194304.0f, q * spacing, x);
}

// Elements that share a grid: those whose index in the unsharded tensor, divided by this, is the same.
constexpr int kGradBlock = 128;

// What the largest of a block is found among: magnitudes in the order of their patterns, in which every NaN is beyond Inf.
template <class L>
QL_HD typename L::U pattern_of_magnitude(typename L::F value) {
  return L::bits_of(value) & 0x7FFFFFFFu;
}

// The spacing of a block's grid, whose largest magnitude is m: that of magnitudes from 1 to 2, a power of two, times
// 2^floor(log2(m)); at least 2^-126, and for Inf and NaN as for the largest numbers.
template <class L>
QL_HD typename L::F spacing_of_block(float spacing_of_one, typename L::U largest) {
  using U = typename L::U;
  const uint32_t below_one = 0x3F800000u - bit_cast<uint32_t>(spacing_of_one);
  const U found = largest & 0x7F800000u;
  const U binade = L::select(L::signed_of(found) > 0x7F000000, L::splat(0x7F000000u), found) - below_one;
  return L::float_of(L::select(L::signed_of(binade) > 0x00800000, binade, L::splat(0x00800000u)));
}

// The same with the grid of a block.
template <class L, class Half>
QL_HD typename L::F quantize_block(typename L::F x, GridRounding rounding, float spacing_of_one, typename L::U largest,
                                   const Half& half) {
  const typename L::F spacing = spacing_of_block<L>(spacing_of_one, largest);
  const typename L::F resolution = L::float_of(L::splat(0x7F000000u) - L::bits_of(spacing));  // 1 / spacing
  return quantize<L>(x, rounding, resolution, spacing, half);
}

}  // namespace ql
