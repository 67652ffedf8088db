// The only file that knows which compiler it is under.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define QL_HD __host__ __device__ __forceinline__
#define QL_UNROLL _Pragma("unroll")
#else
#define QL_HD inline __attribute__((always_inline))
#if defined(__clang__)
#define QL_UNROLL _Pragma("unroll")
#else
#define QL_UNROLL _Pragma("GCC unroll 16")
#endif
#endif

static_assert(sizeof(float) == 4 && sizeof(double) == 8, "the bit contract is written for IEEE-754 binary32 and binary64");

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the order of 16-bit lanes inside a random word assumes a little-endian machine"
#endif

namespace ql {

template <class To, class From>
QL_HD To bit_cast(const From& from) {  // std::bit_cast is not callable from device code
  static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace ql
