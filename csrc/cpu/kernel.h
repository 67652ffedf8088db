// What a CPU kernel is, and the table of kernels that each instruction set's file fills.
#pragma once

#include <cstdint>

#include "../core/plan.h"

namespace ql::cpu {

constexpr int kMaxStateTensors = 4;

enum class Storage : int { float32 = 0, bfloat16 = 1, float16 = 2 };

// What stays the same from step to step.
struct Tensor {
  void* param;
  void* states[kMaxStateTensors];
  int64_t size, offset;
  uint64_t key;
  bool noise;
};

struct Launch {
  const Tensor* tensors;
  const void* const* grads;  // one for each tensor
  const int32_t* row_of;     // the row of scalars of each tensor
  const void* rows;          // Row<Rule>[]
  const Chunk* chunks;
};

// Steps the chunks [first, last) of a launch.
using Kernel = void (*)(const Launch& launch, int64_t first, int64_t last);

// The kernel of one rule (its index in AllRules) and three storage types; nullptr if there is none.
Kernel find_portable(int rule, Storage param, Storage grad, Storage state);
Kernel find_avx2(int rule, Storage param, Storage grad, Storage state);
Kernel find_avx2_wide(int rule, Storage param, Storage grad, Storage state);  // 16 lanes on AVX2: tests the AVX-512 layout
Kernel find_avx512(int rule, Storage param, Storage grad, Storage state);

}  // namespace ql::cpu
