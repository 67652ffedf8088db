// Vector lanes over the compilers' generic vector extension (GCC, Clang). One template serves every width; the few steps for
// which compilers find no good instructions on their own are fenced in small functions with a generic fallback.
#pragma once

#include <utility>

#include "../core/lanes.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace ql {

template <class T, int bytes>
struct Vector {
  typedef T type __attribute__((vector_size(bytes)));
};

// Isa only keeps apart what differently compiled files instantiate, so that the linker never mixes them.
template <int Width, class Isa>
struct VectorLanes {
  static constexpr int width = Width;
  static constexpr int counters = Width / 2;  // a counter word fills the low half of a 64-bit lane
  static constexpr int bytes = 4 * Width;
  using F = typename Vector<float, bytes>::type;
  using U = typename Vector<uint32_t, bytes>::type;
  using I = typename Vector<int32_t, bytes>::type;
  using C = typename Vector<uint64_t, bytes>::type;
  using D = typename Vector<double, 2 * bytes>::type;
  using Halves = typename Vector<uint16_t, bytes / 2>::type;
  using Product = C;

  static QL_HD F float_of(U bits) { return reinterpret_cast<F>(bits); }
  static QL_HD U bits_of(F value) { return reinterpret_cast<U>(value); }
  static QL_HD I signed_of(U bits) { return reinterpret_cast<I>(bits); }
  static QL_HD U splat(uint32_t bits) { return U{} + bits; }
  static QL_HD D widen_double(F value) { return __builtin_convertvector(value, D); }
  static QL_HD F select(I mask, F first, F second) { return mask ? first : second; }
  static QL_HD U select(I mask, U first, U second) { return mask ? first : second; }
  static QL_HD bool all(I) { return false; }
  static QL_HD F magnitude(F value) { return float_of(bits_of(value) & 0x7FFFFFFFu); }

  // gather_quads takes counters 0, 2, 4, ... into its first vector and 1, 3, 5, ... into its second.
  static QL_HD C group_index() {
    C index{};
    for (int i = 0; i < counters; ++i) index[i] = static_cast<uint64_t>(i % 2 * (counters / 2) + i / 2);
    return index;
  }
  static QL_HD C splat_word(uint32_t word) { return C{} + word; }
  static QL_HD C high(C product) { return product >> 32; }
  static QL_HD C low(C product) { return product; }

  static QL_HD C multiply(C word, uint32_t factor) {
#if defined(__AVX512F__)
    if constexpr (bytes == 64) return (C)_mm512_mul_epu32((__m512i)word, _mm512_set1_epi64(factor));
#endif
#if defined(__AVX2__)
    if constexpr (bytes == 32) return (C)_mm256_mul_epu32((__m256i)word, _mm256_set1_epi64x(factor));
    if constexpr (bytes == 64) return join(Half::multiply(lower(word), factor), Half::multiply(upper(word), factor));
#elif defined(__SSE2__)
    if constexpr (bytes == 16) return (C)_mm_mul_epu32((__m128i)word, _mm_set1_epi64x(factor));
#endif
    return (word & 0xFFFFFFFFu) * static_cast<uint64_t>(factor);
  }

  static QL_HD void store_halves_draw(uint32_t* words, const C (&c)[4]) {
    const Quads quads = gather_quads(c);
    store_words(words, 0, quads.first);
    store_words(words, 1, quads.second);
  }
  static QL_HD void store_words_draw(uint32_t* words, const C (&lower)[4], const C (&upper)[4]) {
    const Quads low = gather_quads(lower), high = gather_quads(upper);
    const auto lanes = std::make_integer_sequence<int, Width>{};
    store_words(words, 0, alternate<0>(low.first, high.first, lanes));
    store_words(words, 1, alternate<Width / 2>(low.first, high.first, lanes));
    store_words(words, 2, alternate<0>(low.second, high.second, lanes));
    store_words(words, 3, alternate<Width / 2>(low.second, high.second, lanes));
  }
  static QL_HD U load_words(const uint32_t* words, int vector) {
    U result;
    memcpy(&result, words + vector * Width, bytes);
    return result;
  }
  static QL_HD U load_halves(const uint32_t* words, int vector) {
    Halves halves;
    memcpy(&halves, reinterpret_cast<const uint16_t*>(words) + vector * Width, bytes / 2);
    return widen_halves(halves);
  }
  static QL_HD void store_words(uint32_t* words, int vector, U value) { memcpy(words + vector * Width, &value, bytes); }
  static QL_HD void store_halves(uint16_t* halves, int vector, U value) {
    const Halves narrow = narrow_words(value);
    memcpy(halves + vector * Width, &narrow, bytes / 2);
  }

  template <uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3>
  static QL_HD U weighted_bytes(U word, uint32_t addend) {
    using Pairs = typename Vector<uint16_t, bytes>::type;
    const U even = word & 0x00FF00FFu;
    const U odd = (U)((Pairs)word >> 8);
    return multiply_add<w0, w2>(even) + multiply_add<w1, w3>(odd) + addend;
  }

 private:
  using Half = VectorLanes<(Width > 4 ? Width / 2 : 4), Isa>;

  static QL_HD U widen_halves(Halves halves) {
#if defined(__AVX512BW__)
    if constexpr (bytes == 64) return (U)_mm512_cvtepu16_epi32((__m256i)halves);
#endif
#if defined(__AVX2__)
    if constexpr (bytes == 32) return (U)_mm256_cvtepu16_epi32((__m128i)halves);
#endif
    return __builtin_convertvector(halves, U);
  }
  static QL_HD Halves narrow_words(U words) {  // each below 2^16
#if defined(__AVX512BW__)
    if constexpr (bytes == 64) return (Halves)_mm512_cvtepi32_epi16((__m512i)words);
#endif
#if defined(__AVX2__)
    if constexpr (bytes == 32) {
      const auto w = (__m256i)words;
      return (Halves)_mm_packus_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    }
#endif
    return __builtin_convertvector(words, Halves);
  }

  // Words 0..3 of each counter side by side, in the order of group_index.
  struct Quads {
    U first, second;
  };
  static QL_HD Quads gather_quads(const C (&c)[4]) {
    const auto lanes = std::make_integer_sequence<int, Width>{};
    const F c01 = pair<0>((F)c[0], (F)c[1], lanes), c23 = pair<0>((F)c[2], (F)c[3], lanes);
    return {(U)pair<0>(c01, c23, lanes), (U)pair<1>(c01, c23, lanes)};
  }
  // Within 128 bits: the even (odd = 1: odd) elements of a, then those of b. x86 has this as one instruction for floats only.
  template <int odd, int... i>
  static QL_HD F pair(F a, F b, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, b, (i / 4 * 4 + i % 2 * 2 + odd + (i % 4 >= 2 ? Width : 0))...);
  }
  // 128 bits of a, 128 bits of b, and so on; `from` is 0, or Width / 2 for the second half of both.
  template <int from, int... i>
  static QL_HD U alternate(U a, U b, std::integer_sequence<int, i...>) {
    if constexpr (Width == 4) return from == 0 ? a : b;
    return __builtin_shufflevector(a, b, (from + i / 8 * 4 + i % 4 + (i % 8 >= 4 ? Width : 0))...);
  }

  // low 16 bits * w_low + high 16 bits * w_high
  template <uint32_t w_low, uint32_t w_high>
  static QL_HD U multiply_add(U pairs) {
#if defined(__AVX512BW__)
    if constexpr (bytes == 64) return (U)_mm512_madd_epi16((__m512i)pairs, _mm512_set1_epi32(w_low | w_high << 16));
#endif
#if defined(__AVX2__)
    if constexpr (bytes == 32) return (U)_mm256_madd_epi16((__m256i)pairs, _mm256_set1_epi32(w_low | w_high << 16));
#elif defined(__SSE2__)
    if constexpr (bytes == 16) return (U)_mm_madd_epi16((__m128i)pairs, _mm_set1_epi32(w_low | w_high << 16));
#endif
    return (pairs & 0xFFFFu) * w_low + (pairs >> 16) * w_high;
  }

  static QL_HD typename Half::C lower(C c) {
    typename Half::C half;
    memcpy(&half, &c, sizeof(half));
    return half;
  }
  static QL_HD typename Half::C upper(C c) {
    typename Half::C half;
    memcpy(&half, reinterpret_cast<const char*>(&c) + sizeof(half), sizeof(half));
    return half;
  }
  static QL_HD C join(typename Half::C low_half, typename Half::C high_half) {
    C c;
    memcpy(&c, &low_half, sizeof(low_half));
    memcpy(reinterpret_cast<char*>(&c) + sizeof(low_half), &high_half, sizeof(high_half));
    return c;
  }

  template <int, class>
  friend struct VectorLanes;
};

}  // namespace ql
