// Lanes: how many elements one value holds. The step is written once over a lane type `L`; this file has the scalar
// one (one element; the GPU's threads, the tests) and the vector ones live beside the machine that has them (cpu/lanes.h).
//
// A lane type offers
//   width, counters      elements per value; Philox counters per value of type C
//   F, U, I, C           float lanes; the same bits unsigned; signed (comparisons); counter words, whose upper half may hold
//                        junk where a lane is wider than 32 bits: only the low 32 bits of a counter word mean anything
//   float_of, bits_of    reinterpret                   signed_of           U as I
//   select(m, a, b)      m is what a comparison gives  splat(uint32_t)     the same bits in every lane
//   group_index()        which group of a tile each counter of a C draws for, such that stores write memory order
//   splat_word           one word in every lane        multiply(C, m)       64-bit product; high / low
//   store_halves_draw, store_words_draw   a tile's random words to memory: one counter a group, or a lower and an upper one
//   load_words, load_halves   the v-th vector of 32-bit words, of 16-bit halves (zero-extended), from a buffer of words
//   weighted_bytes<w0, w1, w2, w3>(U, addend)   the sum of w_i * byte_i, and an addend
//   magnitude(F)         the value without its sign
//   all(m)               whether a comparison holds in every lane, where a branch on that pays; else false
#pragma once

#include "platform.h"

namespace ql {

struct ScalarLanes {
  static constexpr int width = 1;
  static constexpr int counters = 1;
  using F = float;
  using U = uint32_t;
  using I = int32_t;
  using C = uint32_t;
  using Product = uint64_t;

  static QL_HD F float_of(U bits) { return bit_cast<float>(bits); }
  static QL_HD U bits_of(F value) { return bit_cast<uint32_t>(value); }
  static QL_HD I signed_of(U bits) { return static_cast<I>(bits); }
  static QL_HD U splat(uint32_t bits) { return bits; }
  template <class T>
  static QL_HD T select(bool take_first, T first, T second) {
    return take_first ? first : second;
  }

  static QL_HD bool all(bool) { return false; }
  static QL_HD F magnitude(F value) { return float_of(bits_of(value) & 0x7FFFFFFFu); }

  static QL_HD C group_index() { return 0; }
  static QL_HD C splat_word(uint32_t word) { return word; }
  static QL_HD Product multiply(C word, uint32_t factor) { return static_cast<uint64_t>(word) * factor; }
  static QL_HD C high(Product product) { return static_cast<C>(product >> 32); }
  static QL_HD C low(Product product) { return static_cast<C>(product); }
  static QL_HD void store_halves_draw(uint32_t* words, const C (&c)[4]) {
    for (int i = 0; i < 4; ++i) words[i] = c[i];
  }
  static QL_HD void store_words_draw(uint32_t* words, const C (&lower)[4], const C (&upper)[4]) {
    for (int i = 0; i < 4; ++i) words[i] = lower[i], words[i + 4] = upper[i];
  }
  static QL_HD U load_words(const uint32_t* words, int vector) { return words[vector]; }
  static QL_HD U load_halves(const uint32_t* words, int vector) { return (words[vector / 2] >> (16 * (vector % 2))) & 0xFFFFu; }

  template <uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3>
  static QL_HD U weighted_bytes(U word, uint32_t addend) {
#if defined(__CUDA_ARCH__)
    return __dp4a(word, w0 | w1 << 8 | w2 << 16 | w3 << 24, addend);
#else
    return addend + w0 * (word & 0xFFu) + w1 * (word >> 8 & 0xFFu) + w2 * (word >> 16 & 0xFFu) + w3 * (word >> 24);
#endif
  }
};

}  // namespace ql
