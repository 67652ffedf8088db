// What the GPU's kernels are handed, and where they are found.
#pragma once

#include <cstdint>
#include <string>

#include "../core/rules.h"
#include "../core/statistics.h"
#include "../core/storage.h"
#include "../core/update.h"

namespace ql::cuda {

// What stays the same from step to step; in the device's memory, as everything that these structs point to.
struct Tensor {
  char* param;
  char* states[kMaxStates];
  int64_t* step;  // its counter; none: the host counts
  int64_t size, offset;
  uint64_t key;
  int32_t group, noise;
};

// What one warp works on: the elements of one block of core/norm.h, counted from the first that the tensor touches.
struct Task {
  int32_t tensor;
  uint32_t block;
};

constexpr int kInlineBytes = 3840;

// By value, in less than the 4 KB that a launch takes on every driver.
struct Arguments {
  const Tensor* tensors;
  const Task* tasks;
  const char* const* grads;  // one for each tensor; none: they stand among the inline bytes, after the rows
  const void* rows;          // Row<Rule>, one for each tensor; none: one for each group, among the inline bytes
  const float* found_inf;    // if there is one and it is not 0, nothing is done
  double* statistics;        // of an observed step: Statistic::count for each task
  StorageTypes types;        // for the kernels that any types have
  int32_t grads_at;          // where the gradients begin among the inline bytes
  bool stores;               // of an observed step; false: it is looked at before it is taken
  alignas(16) unsigned char inline_bytes[kInlineBytes];
};
static_assert(sizeof(Arguments) <= 4096);

using StepKernel = void (*)(Arguments);

// The sums of squares of the gradients of each task.
struct SquaresArguments {
  const Tensor* tensors;
  const Task* tasks;
  const char* const* grads;
  double* sums;
};

using SquaresKernel = void (*)(SquaresArguments);

enum class NumberType : int32_t { none = 0, float32 = 1, float64 = 2 };

// A number in the device's memory, where the host does not read it.
struct DeviceNumber {
  const void* address;
  NumberType type;
};

// What changes from step to step, one for each group.
struct Group {
  Hyper hyper;
  DeviceNumber lr, temperature;  // in place of the hyper-parameters'
  const Hyper* schedule;         // one for each step from the first on, in place of `hyper`; none
  int64_t schedule_steps;
  double grad_multiplier;    // sign (maximize), and whatever of scale and clip coefficient the host knows
  double max_grad_norm;      // 0: no clipping on the device
  bool compensates;          // on the device, as hyper.compensation says
  bool compensation_global;  // by the norm of all displacements
};

struct PrepareArguments {
  const Tensor* tensors;
  int64_t count;
  const Group* groups;                 // none: they stand among the inline bytes
  const int64_t* steps;                // the step that each tensor takes; none: its counter says
  const float* compensations;          // that the host made, one for each tensor; none
  const float* grad_scale;             // none: 1
  const float* found_inf;              // none: 0
  const double* grad_squares;          // of all gradients together
  const double* displacement_squares;  // of all displacements together
  const double* statistics;            // of each tensor's displacement, ahead of the step; none: no compensation is made here
  void* rows;
  int32_t* overrun;  // becomes 1 where a schedule has no such step
  uint32_t chain;
  bool counts;  // advances the counters
  alignas(16) unsigned char inline_bytes[kInlineBytes - 256];
};

using PrepareKernel = void (*)(PrepareArguments);

// The values [first, first + count) make the sum `to`; at most kNormBlock of them.
struct Fold {
  int64_t first;
  int32_t count, to;
};

// For each k < width: values[at * value_stride + k] over `at` into sums[to * sum_stride + k].
struct FoldArguments {
  const double* values;
  double* sums;
  const Fold* folds;    // none: one after another, kNormBlock values each
  int64_t value_count;  // without folds: of all values
  int32_t width;        // 1, or Statistic::count, of which one is no sum but a maximum
  int32_t value_stride, sum_stride;
  const float* found_inf;
};

// What a step asks of its kernel.
struct StepKind {
  bool observed;  // statistics
  bool unusual;   // averaged noise, a corrected rounding or blocks of gradients
};

QL_HD bool is_unusual(const Hyper& hyper) {
  return averages(hyper.noise) || hyper.corrected_param || hyper.grad_blocks;
}

// One row of the table of rules.
struct RuleEntry {
  const char* name;
  size_t row_bytes;
  PrepareKernel prepare;
  StepKernel (*find_step)(StorageTypes types, StepKind kind);  // or null: no state is stored so
  void (*make_row)(const Hyper& hyper, double grad_multiplier, int64_t step, uint32_t chain, void* row);
};

// Throws std::invalid_argument naming the known ones.
const RuleEntry& find_rule(const std::string& name);

// Most steps are not observed, and torch wants gradients of their parameter's type: their kernels know all types.
template <class Rule>
StepKernel find_typed_step(StorageTypes types);

// The kernels of all other steps read the types from their arguments.
template <class Rule>
StepKernel find_any_step(bool observed, bool unusual);

SquaresKernel find_squares(Storage grad);

}  // namespace ql::cuda
