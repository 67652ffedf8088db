// Random bits -> noise values of mean 0 and variance 1 (numerics.md section 3).
#pragma once

#include "lanes.h"

namespace ql {

// levy: symmetric alpha-stable, which has no variance; csrc/cpu/levy.h draws it, and nothing here does.
// Averaged: half the sum of a step's noise and the next step's, of variance 1/2 (Leimkuhler and Matthews, AMRX 2013).
enum class NoiseKind : int32_t {
  gaussian = 1,
  uniform = 2,
  rademacher = 3,
  levy = 4,
  averaged_gaussian = 5,
  averaged_uniform = 6,
  averaged_rademacher = 7,
};

QL_HD bool averages(NoiseKind kind) {
  return static_cast<int32_t>(kind) > 4;
}

// The law of each of the two that are averaged; of the only one.
QL_HD NoiseKind law_of(NoiseKind kind) {
  return averages(kind) ? static_cast<NoiseKind>(static_cast<int32_t>(kind) - 4) : kind;
}

// The byte-sum normal: the weighted sum of a word's four bytes is close to normal, and an odd polynomial corrects it to a
// Kolmogorov distance of 8.1e-6. The weights' sum is even, so that the mean is an integer and the centred sum exact.
template <class L>
QL_HD typename L::F gaussian(typename L::U word) {
  using F = typename L::F;
  const typename L::U sum = L::template weighted_bytes<255u, 233u, 229u, 197u>(word, 0x4B000000u);  // with the exponent of 2^23
  const F centred = L::float_of(sum) - 8505143.0f;                                                  // 2^23 + mean
  const F x = centred * 0x1.eebed6p-16f;
  const F u = x * x;
  F p = u * 0x1.ed2e0cp-20f - 0x1.a3d7dap-15f;
  p = p * u + 0x1.1d6878p-11f;
  p = p * u - 0x1.637c78p-9f;
  p = p * u + 0x1.c248fep-8f;
  p = p * u + 0x1.5f7fb6p-8f;
  p = p * u + 0x1.ec6c56p-1f;
  return x * p;
}

// The 2^16 midpoints of [-sqrt(3), sqrt(3)], scaled to variance 1: sqrt(12 / (2^32 - 1)) apart.
template <class L>
QL_HD typename L::F uniform(typename L::U half) {
  return ((L::float_of(half | 0x4B000000u) - 8388608.0f) - 32767.5f) * 0x1.bb67aep-15f;
}

template <class L>
QL_HD typename L::F rademacher(typename L::U half) {
  return L::float_of(((half & 0x8000u) << 16) | 0x3F800000u);
}

template <class L>
QL_HD typename L::F noise_value(NoiseKind kind, typename L::U bits) {
  if (kind == NoiseKind::gaussian) return gaussian<L>(bits);
  if (kind == NoiseKind::uniform) return uniform<L>(bits);
  return rademacher<L>(bits);
}

// The averaged noise from this step's and the next one's.
template <class L>
QL_HD typename L::F average(typename L::F now, typename L::F next) {
  return (now + next) * 0.5f;
}

}  // namespace ql
