// The GPU's lanes: one thread holds a whole group of 8 elements, so that the branches of absent stages are taken once for 8 of
// them, and one Philox counter serves its thread.
#pragma once

#include <cmath>

#include "gpu.h"

namespace ql::cuda {

// One value for each element of a group; arithmetic is element by element.
template <class T>
struct Eight {
  T values[kGroup];

  QL_HD T& operator[](int i) { return values[i]; }
  QL_HD const T& operator[](int i) const { return values[i]; }
};

template <class A>
struct IsEight {
  static constexpr bool value = false;
};
template <class T>
struct IsEight<Eight<T>> {
  static constexpr bool value = true;
};

template <class T>
QL_HD T element(const Eight<T>& all, int i) {
  return all.values[i];
}
template <class T>
QL_HD T element(T one, int) {
  return one;
}

#define QL_EIGHT_OPERATOR(op)                                                    \
  template <class A, class B>                                                    \
    requires(IsEight<A>::value || IsEight<B>::value)                             \
  QL_HD auto operator op(const A& a, const B& b) {                               \
    Eight<decltype(element(a, 0) op element(b, 0))> result;                      \
    QL_UNROLL                                                                    \
    for (int i = 0; i < kGroup; ++i) result[i] = element(a, i) op element(b, i); \
    return result;                                                               \
  }
QL_EIGHT_OPERATOR(+)
QL_EIGHT_OPERATOR(-)
QL_EIGHT_OPERATOR(*)
QL_EIGHT_OPERATOR(&)
QL_EIGHT_OPERATOR(|)
QL_EIGHT_OPERATOR(<<)
QL_EIGHT_OPERATOR(>>)
QL_EIGHT_OPERATOR(<)
QL_EIGHT_OPERATOR(>)
QL_EIGHT_OPERATOR(>=)
QL_EIGHT_OPERATOR(==)
QL_EIGHT_OPERATOR(!=)
#undef QL_EIGHT_OPERATOR

template <class T>
QL_HD Eight<T> operator-(const Eight<T>& a) {
  Eight<T> result;
  QL_UNROLL
  for (int i = 0; i < kGroup; ++i) result[i] = -a[i];
  return result;
}

struct GroupLanes : ScalarLanes {
  static constexpr int width = kGroup;
  using F = Eight<float>;
  using U = Eight<uint32_t>;
  using I = Eight<int32_t>;

  template <class To, class From>
  static QL_HD Eight<To> cast(const Eight<From>& from) {
    Eight<To> to;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) to[i] = bit_cast<To>(from[i]);
    return to;
  }
  static QL_HD F float_of(const U& bits) { return cast<float>(bits); }
  static QL_HD U bits_of(const F& value) { return cast<uint32_t>(value); }
  static QL_HD I signed_of(const U& bits) { return cast<int32_t>(bits); }
  static QL_HD U splat(uint32_t bits) {
    U all;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) all[i] = bits;
    return all;
  }
  template <class T>
  static QL_HD Eight<T> select(const Eight<bool>& mask, const Eight<T>& first, const Eight<T>& second) {
    Eight<T> result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = mask[i] ? first[i] : second[i];
    return result;
  }
  static QL_HD bool all(const Eight<bool>& mask) {
    bool every = true;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) every = every && mask[i];
    return every;
  }
  static QL_HD F magnitude(const F& value) {
    F result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = fabsf(value[i]);
    return result;
  }
  template <uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3>
  static QL_HD U weighted_bytes(const U& word, uint32_t addend) {
    U sum;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) sum[i] = ScalarLanes::weighted_bytes<w0, w1, w2, w3>(word[i], addend);
    return sum;
  }
};

}  // namespace ql::cuda
