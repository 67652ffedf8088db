// binary32 to the storage types and back (numerics.md section 4): integers and exact scalings only, so every machine agrees.
#pragma once

#include "lanes.h"
#include "quantize.h"

namespace ql {

enum class Storage : int { float32 = 0, bfloat16 = 1, float16 = 2 };

// The same, where the value is a type.
struct Float32 {
  using Bits = uint32_t;
  static constexpr Storage value = Storage::float32;
};
struct BFloat16 {
  using Bits = uint16_t;
  static constexpr Storage value = Storage::bfloat16;
};
struct Float16 {
  using Bits = uint16_t;
  static constexpr Storage value = Storage::float16;
};

template <class L>
QL_HD typename L::F widen(Float32, typename L::U bits) {
  return L::float_of(bits);
}

template <class L>
QL_HD typename L::F widen(BFloat16, typename L::U bits) {
  return L::float_of(bits << 16);
}

template <class L>
QL_HD typename L::F widen(Float16, typename L::U bits) {
  using U = typename L::U;
  const U magnitude = (bits & 0x7FFFu) << 13;
  const U sign = (bits & 0x8000u) << 16;
  const U finite = L::bits_of(L::float_of(magnitude) * 0x1p112f);  // moves the exponent's bias; exact for subnormals too
  const U special = magnitude | 0x7F800000u;
  return L::float_of(sign | L::select(L::signed_of(magnitude) >= 0x0F800000, special, finite));
}

// round(type, value, stochastic, half): the storage pattern. `half` holds 16 random bits and is read only if stochastic.
template <class L>
QL_HD typename L::U round(Float32, typename L::F value, bool, typename L::U) {
  return L::bits_of(value);
}

// The pattern in the upper half of the result, with whatever was cut off below.
template <class L>
QL_HD typename L::U round_upper(BFloat16, typename L::F value, bool stochastic, typename L::U half) {
  using U = typename L::U;
  const U bits = L::bits_of(value);
  const U sum = bits + (stochastic ? half : 0x7FFFu + (bits >> 16 & 1u));
  if (L::all(L::magnitude(value) < 0x1.FEp127f)) return sum;  // no sum reaches Inf, and none is NaN
  // Where the sum reaches Inf by chance, cutting the value itself gives what is right: Inf, or the largest finite value.
  U pattern = sum;
  if (stochastic) pattern = L::select(L::signed_of(sum & 0x7FFFFFFFu) >= 0x7F800000, bits, sum);
  return L::select(value != value, L::splat(0x7FC00000u), pattern);
}

template <class L>
QL_HD typename L::U round(BFloat16, typename L::F value, bool stochastic, typename L::U half) {
  return round_upper<L>(BFloat16{}, value, stochastic, half) >> 16;
}

template <class L>
QL_HD typename L::U round(Float16, typename L::F value, bool stochastic, typename L::U half) {
  using U = typename L::U;
  using F = typename L::F;
  const U bits = L::bits_of(value);
  const U magnitude = bits & 0x7FFFFFFFu;
  const U most = L::splat(stochastic ? 0x7BFFu : 0x7C00u);  // stochastic rounding never makes an Inf

  const U carry = stochastic ? half >> 3 : 0x0FFFu + (magnitude >> 13 & 1u);  // 13 bits are dropped
  const U normal = (magnitude + carry - 0x38000000u) >> 13;

  // Below 2^-14 the grid is 2^-24: adding 2^23 rounds to nearest even there, and leaves the integer in the low bits.
  const F scaled = L::float_of(magnitude) * 0x1p24f;
  const F integer = stochastic ? quantize<L>(scaled, GridRounding::stochastic, 1.0f, 1.0f, [&] { return half; }) : scaled;
  const U subnormal = L::bits_of(integer + 8388608.0f) & 0x07FFu;

  const typename L::I size = L::signed_of(magnitude);
  U pattern = L::select(L::signed_of(normal) > L::signed_of(most), most, normal);
  pattern = L::select(size < 0x38800000, subnormal, pattern);
  pattern = L::select(size == 0x7F800000, L::splat(0x7C00u), pattern);
  pattern = L::select(size > 0x7F800000, L::splat(0x7E00u), pattern);
  return pattern | (bits >> 16 & 0x8000u);
}

}  // namespace ql
