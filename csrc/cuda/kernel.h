// What a GPU kernel is handed, and the tables of kernels that the files of the storage types fill.
#pragma once

#include <cstdint>

#include "../core/rules.h"
#include "../core/update.h"

namespace ql::cuda {

enum class Storage : int { float32 = 0, bfloat16 = 1, float16 = 2 };

// What stays the same from step to step, in the device's memory.
struct Tensor {
  char* param;
  char* states[kMaxStates];
  int64_t size, offset;
  uint64_t key;
  int32_t group, noise;
};

// What one warp steps: the elements of one block of core/norm.h, counted from the first that the tensor touches.
struct Task {
  int32_t tensor;
  uint32_t block;
};

constexpr int kInlineBytes = 3840;

// By value: a launch takes 4 KB of arguments on every driver, and more costs time.
struct Arguments {
  const Tensor* tensors;
  const Task* tasks;
  int64_t task_count;
  const char* const* grads;  // one for each tensor; none: they stand among the inline bytes, after the rows
  const void* rows;          // Row<Rule> for each tensor; none: one for each group among the inline bytes
  const int32_t* skip;       // nothing is done if it is there and not 0
  double* statistics;        // Statistic::count for each task, of an observed step
  bool stores;               // false: an observed step is only looked at
  int32_t grads_at;          // where the gradients begin among the inline bytes
  alignas(16) unsigned char inline_bytes[kInlineBytes];
};

using StepKernel = void (*)(Arguments);

}  // namespace ql::cuda
