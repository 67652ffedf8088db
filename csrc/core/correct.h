// The variance-corrected quantizer of low-precision Langevin dynamics (Zhang, Wilson, De Sa, ICML 2022, algorithm 2), on the grid
// of a storage type: a value with the mean and the variance that the unrounded one would have, where rounding stochastically
// would add its own variance to the noise's.
#pragma once

#include <type_traits>

#include "quantize.h"
#include "root.h"
#include "round.h"

namespace ql {

// The grid around a value: the distance of the storage type's neighbours where they are furthest apart among the values that a
// step can end at, a power of two. magnitude: a bound of these values.
template <class L>
QL_HD typename L::F spacing_of(BFloat16, typename L::F magnitude) {
  const typename L::F spacing = L::float_of(L::bits_of(magnitude) & 0x7F800000u) * 0x1p-7f;
  return L::select(spacing > 0x1p-126f, spacing, L::float_of(L::splat(0x00800000u)));
}

template <class L>
QL_HD typename L::F spacing_of(Float16, typename L::F magnitude) {
  const typename L::F spacing = L::float_of(L::bits_of(magnitude) & 0x7F800000u) * 0x1p-10f;
  return L::select(spacing > 0x1p-24f, spacing, L::float_of(L::splat(0x33800000u)));
}

// In units of the spacing: noise wider than half of it is added, less what rounding to nearest and a further step of 1 to either
// side will add; the probabilities of that step make up for the error of rounding.
template <class L>
QL_HD typename L::F correct_wide(typename L::F y, typename L::F variance, typename L::F noise, typename L::F unit) {
  using F = typename L::F;
  const F excess = variance - 0.25f;
  const F x = y + excess * inverse_root<L>(excess) * noise;
  const F q = even_of<L>(x);
  const F error = L::magnitude(x - q);
  const F towards = (error + 0.5f) * (error + 0.5f) * 0.5f;
  const F away = (0.5f - error) * (0.5f - error) * 0.5f;
  const F step = one_if<L>(towards > unit) - one_if<L>(unit > 1.0f - away);
  return q + L::select(x - q < 0.0f, -step, step);
}

// Narrower noise: rounded stochastically, and where that brings less variance than the noise has, a step of 1 to either side.
// One uniform value decides among the four outcomes.
template <class L>
QL_HD typename L::F correct_narrow(typename L::F y, typename L::F variance, typename L::F unit) {
  using F = typename L::F;
  const F q = floor_of<L>(y);
  const F above = y - q, below = 1.0f - above;
  const F missing = variance - above * below;
  const F p = L::select(missing > 0.0f, missing, L::float_of(L::splat(0u))) * 0.5f;
  const F first = below * p, last = 1.0f - above * p;
  const F second = first + below * (1.0f - 2.0f * p) + above * p;
  return q - 1.0f + one_if<L>(unit > first) + one_if<L>(unit > second) + one_if<L>(unit > last);
}

// scale: of the noise, which has variance 1. half: 16 random bits. Values beyond 2^126, Inf and NaN are not corrected; nor is
// binary32, whose rounding is far below any noise.
template <class L, class T>
QL_HD typename L::F correct(T type, typename L::F mean, typename L::F scale, typename L::F noise, typename L::U half) {
  using F = typename L::F;
  if constexpr (std::is_same_v<T, Float32>) {
    return mean + scale * noise;
  } else {
    const F magnitude = L::magnitude(mean) * 1.0078125f + scale * 5.0f;  // two spacings beyond the mean
    const F spacing = spacing_of<L>(type, magnitude);
    const F inverse = L::float_of(L::splat(0x7F000000u) - L::bits_of(spacing));
    const F y = mean * inverse, deviation = scale * inverse, unit = unit_of<L>(half);
    const F variance = deviation * deviation;
    const F wide = correct_wide<L>(y, variance, noise, unit), narrow = correct_narrow<L>(y, variance, unit);
    const F corrected = L::select(variance > 0.25f, wide, narrow) * spacing;
    return L::select(magnitude < 0x1p126f, corrected, mean + scale * noise);
  }
}

}  // namespace ql
