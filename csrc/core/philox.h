// Philox4x32: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include "lanes.h"

namespace ql {

struct PhiloxKey {
  uint32_t k0, k1;
};

constexpr int kPhiloxRounds = 10;

// Replaces each of N independent counters c[n] = (c0, c1, c2, c3) by its four random words. N counters run in step so that
// their multiplications overlap: one alone waits for its own products.
template <class L, int N, int rounds = kPhiloxRounds>
QL_HD void philox(PhiloxKey key, typename L::C (&c)[N][4]) {
  QL_UNROLL
  for (int round = 0; round < rounds; ++round) {
    QL_UNROLL
    for (int n = 0; n < N; ++n) {
      const auto p0 = L::multiply(c[n][0], 0xD2511F53u);
      const auto p1 = L::multiply(c[n][2], 0xCD9E8D57u);
      c[n][0] = L::high(p1) ^ c[n][1] ^ key.k0;
      c[n][1] = L::low(p1);
      c[n][2] = L::high(p0) ^ c[n][3] ^ key.k1;
      c[n][3] = L::low(p0);
    }
    key.k0 += 0x9E3779B9u;
    key.k1 += 0xBB67AE85u;
  }
}

}  // namespace ql
