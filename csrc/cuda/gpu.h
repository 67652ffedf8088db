// What a kernel needs of the GPU beyond C++, fenced: each intrinsic stands beside what it does, so that the kernels' own source
// runs on a machine without a GPU. Under QL_GPU_ON_HOST (the tests) a loop calls a kernel once for each thread, in order.
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include "../core/draw.h"
#include "../core/norm.h"
#include "../core/platform.h"
#include "../core/round.h"

#if !defined(__CUDACC__)
#if !defined(QL_GPU_ON_HOST)
#error "kernels are compiled by nvcc, or for the host with QL_GPU_ON_HOST"
#endif
#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
#endif

namespace ql::cuda {

constexpr int kWarp = 32, kHalfWarp = 16;

// 16 bytes, the most that one instruction moves.
struct alignas(16) Quad {
  uint32_t words[4];
};

struct Place {
  int64_t block;
  int thread;
};

#if defined(__CUDACC__)
QL_HD Place place() {
#if defined(__CUDA_ARCH__)
  return {static_cast<int64_t>(blockIdx.x), static_cast<int>(threadIdx.x)};
#else
  return {};
#endif
}
#else
inline thread_local Place host_place;
inline Place place() {
  return host_place;
}
#endif

// Memory that is read or written once in a step, and is not kept in the caches.
QL_HD Quad load_quad(const void* address) {
  Quad quad;
#if defined(__CUDA_ARCH__)
  const uint4 found = __ldcs(static_cast<const uint4*>(address));
  quad = {{found.x, found.y, found.z, found.w}};
#else
  memcpy(&quad, address, sizeof(quad));
#endif
  return quad;
}

QL_HD void store_quad(void* address, const Quad& quad) {
#if defined(__CUDA_ARCH__)
  __stcs(static_cast<uint4*>(address), make_uint4(quad.words[0], quad.words[1], quad.words[2], quad.words[3]));
#else
  memcpy(address, &quad, sizeof(quad));
#endif
}

// Keeps the compiler from making a value anew, and cheaper in registers, wherever it is read.
QL_HD void keep(uint32_t& word) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+r"(word));
#else
  (void)word;
#endif
}

template <class T>
QL_HD T load_one(const T* address) {
#if defined(__CUDA_ARCH__)
  return __ldcs(address);
#else
  return *address;
#endif
}

template <class T>
QL_HD void store_one(T* address, T value) {
#if defined(__CUDA_ARCH__)
  __stcs(address, value);
#else
  *address = value;
#endif
}

// A quad of which a neighbouring lane reads a part as well.
QL_HD Quad load_quad_around(const char* address) {
#if defined(__CUDA_ARCH__)
  const uint4 found = __ldca(reinterpret_cast<const uint4*>(address));
  return {{found.x, found.y, found.z, found.w}};
#else
  Quad quad;
  memcpy(&quad, address, sizeof(quad));
  return quad;
#endif
}

#if !defined(__CUDACC__)
// What the lane before handed on, in the order in which it did: on the host it has run to its end by now.
struct HostHandedOn {
  std::vector<uint32_t> words;
  size_t next = 0;
  int thread = -1;
};
inline thread_local HostHandedOn host_handed_on;
#endif

// In lane 0 no word that counts. Every lane of the warp calls it, equally often.
QL_HD uint32_t hand_on(uint32_t word) {
#if defined(__CUDA_ARCH__)
  return __shfl_up_sync(0xFFFFFFFFu, word, 1);
#elif !defined(__CUDACC__)
  HostHandedOn& all = host_handed_on;
  const int thread = place().thread;
  if (all.thread != thread) all.thread = thread, all.next = 0;
  if (thread % kWarp == 0) all.words.resize(all.next + 1);
  return std::exchange(all.words.at(all.next++), word);
#else
  return word;
#endif
}

// The upper halves of two words, the first of them below.
QL_HD uint32_t join_upper(uint32_t first, uint32_t second) {
#if defined(__CUDA_ARCH__)
  return __byte_perm(first, second, 0x7632);
#else
  return first >> 16 | (second & 0xFFFF0000u);
#endif
}

QL_HD uint32_t join_lower(uint32_t first, uint32_t second) {
#if defined(__CUDA_ARCH__)
  return __byte_perm(first, second, 0x5410);
#else
  return (first & 0xFFFFu) | second << 16;
#endif
}

// The word that begins `bits` (0 or 16) up in the first word and ends in the second.
QL_HD uint32_t shift_pair(uint32_t first, uint32_t second, uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_r(first, second, bits);
#else
  return static_cast<uint32_t>((static_cast<uint64_t>(second) << 32 | first) >> bits);
#endif
}

// binary16 to binary32.
QL_HD float widen_half(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("{ .reg .b16 half; cvt.u16.u32 half, %1; cvt.f32.f16 %0, half; }" : "=f"(value) : "r"(bits));
  return value;
#else
  return widen<ScalarLanes>(Float16{}, bits);
#endif
}

// Two values rounded to nearest, the first below. What is NaN may have another payload than round.h's.
template <class T>
QL_HD uint32_t nearest_pair(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t pair;
  if constexpr (std::is_same_v<T, BFloat16>)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return join_lower(round<ScalarLanes>(T{}, first, false, 0u), round<ScalarLanes>(T{}, second, false, 0u));
#endif
}

// Sums over the warp in the order of core/norm.h: lane l holds columns 8 l and on. Every lane calls it, for each slot at most
// once a kernel; what it returns counts in the lane of holds_folds.
constexpr int kFoldSlots = 16;

#if !defined(__CUDACC__)
struct HostFolds {
  double columns[kFoldSlots][kNormColumns];
  double largest;
};
inline thread_local HostFolds host_folds;
#endif

QL_HD double fold_warp(double (&columns)[kGroup], int slot) {
#if defined(__CUDA_ARCH__)
  QL_UNROLL
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) columns[i] += __shfl_down_sync(0xFFFFFFFFu, columns[i], lanes);
  }
  QL_UNROLL
  for (int half = kGroup / 2; half > 0; half /= 2) {
    QL_UNROLL
    for (int i = 0; i < half; ++i) columns[i] += columns[i + half];
  }
  return columns[0];
#elif !defined(__CUDACC__)
  const int lane = place().thread % kWarp;
  for (int i = 0; i < kGroup; ++i) host_folds.columns[slot][lane * kGroup + i] = columns[i];
  return lane == kWarp - 1 ? fold_columns(host_folds.columns[slot]) : 0.0;
#else
  return 0.0;
#endif
}

// The largest of the lanes' values, which are not negative.
QL_HD float largest_in_warp(float value) {
#if defined(__CUDA_ARCH__)
  QL_UNROLL
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value = fmaxf(value, __shfl_down_sync(0xFFFFFFFFu, value, lanes));
  return value;
#elif !defined(__CUDACC__)
  const double before = place().thread % kWarp == 0 ? 0.0 : host_folds.largest;
  host_folds.largest = value > before ? value : before;
  return static_cast<float>(host_folds.largest);
#else
  return value;
#endif
}

// The largest of of(thread) over the threads of a half of the warp. Of other threads only the host asks, which runs them later.
template <class Of>
QL_HD uint32_t largest_in_half_warp(int thread, const Of& of) {
  uint32_t largest = of(thread);
#if defined(__CUDA_ARCH__)
  QL_UNROLL
  for (int lanes = kHalfWarp / 2; lanes > 0; lanes /= 2) largest = max(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, lanes));
#else
  const int first = thread / kHalfWarp * kHalfWarp;
  for (int other = first; other < first + kHalfWarp; ++other) {
    const uint32_t value = of(other);
    largest = value > largest ? value : largest;
  }
#endif
  return largest;
}

QL_HD bool holds_folds(int lane) {
#if defined(__CUDACC__)
  return lane == 0;
#else
  return lane == kWarp - 1;
#endif
}

}  // namespace ql::cuda
