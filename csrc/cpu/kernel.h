// What a CPU kernel is, and the table of kernels that each instruction set's file fills.
#pragma once

#include <cstdint>

#include "../core/plan.h"
#include "../core/storage.h"

namespace ql::cpu {

constexpr int kMaxStateTensors = 4;

// What stays the same from step to step.
struct Tensor {
  void* param;
  void* states[kMaxStateTensors];
  int64_t size, offset;
  uint64_t key;
  bool noise;
};

// Where a pass leaves its statistics: those of a tensor's blocks (core/norm.h) one after another.
struct Observer {
  bool stores;                 // false: the step is looked at before it is taken, and nothing is written
  double* statistics;          // Statistic::count for each block
  const int64_t* first_block;  // of each tensor
};

struct Launch {
  StorageTypes types;
  const Tensor* tensors;
  const void* const* grads;    // one for each tensor
  const int32_t* row_of;       // the row of scalars of each tensor
  const void* rows;            // Row<Rule>[]
  const float* compensations;  // one for each tensor; or none at all
  const Observer* observer;    // may be none
  const Chunk* chunks;
  const double* tail_indices;  // of Levy noise, one for each tensor; or none at all
};

// Steps the chunks [first, last) of a launch.
using Kernel = void (*)(const Launch& launch, int64_t first, int64_t last);

// The sum of squares of elements [first, last) of one block of core/norm.h; the first of them lies at `memory`.
using SquareRange = double (*)(const void* memory, int64_t first, int64_t last);

// The kernel of one rule (its index in AllRules), for steps that are observed or not; nullptr if no state is stored so.
Kernel find_portable(int rule, StorageTypes types, bool observed);
Kernel find_avx2(int rule, StorageTypes types, bool observed);
Kernel find_avx2_wide(int rule, StorageTypes types, bool observed);  // 16 lanes on AVX2: tests the AVX-512 layout
Kernel find_avx512(int rule, StorageTypes types, bool observed);

SquareRange find_squares_portable(Storage type);
SquareRange find_squares_avx2(Storage type);
SquareRange find_squares_avx2_wide(Storage type);
SquareRange find_squares_avx512(Storage type);

}  // namespace ql::cpu
