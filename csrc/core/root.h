// 1 / sqrt(x) from multiplications, additions and one integer subtraction: the same bits on every machine, no branch, and half
// the instructions that a GPU takes for a correctly rounded root and quotient (docs/decisions/0011).
#pragma once

#include "lanes.h"

namespace ql {

// Within 1.21e-7 (2^-22.98) of 1 / sqrt(x), relatively, for normal x > 0; for 0 a finite number, so that x * inverse_root(x) is
// sqrt(x) there too; for Inf Inf, and for NaN NaN. Below 2^-126 it is at most 3.3e19, up to 900 times too small.
template <class L>
QL_HD typename L::F inverse_root(typename L::F x) {
  using F = typename L::F;
  const F y = L::float_of(L::splat(0x5F374700u) - (L::bits_of(x) >> 1));  // within 3.5 %
  const F e = 1.0f - x * y * y;                                           // the subtraction is exact
  F q = e * 0x1.198eb6p-2f + 0x1.4176cep-2f;                              // (1 - e)^(-1/2) - 1, |e| < 0.0682, error 2.3e-8
  q = q * e + 0x1.7fff64p-2f;
  q = q * e + 0x1.ffff92p-2f;
  return y + y * (q * e);
}

}  // namespace ql
