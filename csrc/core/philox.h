// Philox4x32: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include "lanes.h"

namespace ql {

struct PhiloxKey {
  uint32_t k0, k1;
};

constexpr int kPhiloxRounds = 10;
constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

// Each round's key, made once for many counters: vector machines read them as memory operands instead of broadcasting them.
template <class L>
struct RoundKeys {
  typename L::C k0[kPhiloxRounds], k1[kPhiloxRounds];

  QL_HD explicit RoundKeys(PhiloxKey key) {
    QL_UNROLL
    for (uint32_t round = 0; round < kPhiloxRounds; ++round) {
      k0[round] = L::splat_word(key.k0 + round * kWeyl0);
      k1[round] = L::splat_word(key.k1 + round * kWeyl1);
    }
  }
};

// Replaces each of N independent counters c[n] = (c0, c1, c2, c3) by its four random words. N counters run in step so that
// their multiplications overlap: one alone waits for its own products. `first`: rounds that are done already.
template <class L, int N, int first = 0>
QL_HD void philox(const RoundKeys<L>& keys, typename L::C (&c)[N][4]) {
  QL_UNROLL
  for (int round = first; round < kPhiloxRounds; ++round) {
    QL_UNROLL
    for (int n = 0; n < N; ++n) {
      const auto p0 = L::multiply(c[n][0], kMultiplier0);
      const auto p1 = L::multiply(c[n][2], kMultiplier1);
      c[n][0] = L::high(p1) ^ c[n][1] ^ keys.k0[round];
      c[n][1] = L::low(p1);
      c[n][2] = L::high(p0) ^ c[n][3] ^ keys.k1[round];
      c[n][3] = L::low(p0);
    }
  }
}

}  // namespace ql
