// The sum of squares of a gradient, task by task, in binary64 and in the order of core/norm.h.
#pragma once

#include "task.h"

namespace ql::cuda {

// Of each task the sum of squares of its gradient.
template <class G>
__global__ void __launch_bounds__(kWarp) squares_kernel(const __grid_constant__ SquaresArguments a) {
  const Place here = place();
  const Task task = a.tasks[here.block];
  const Reach reach(a.tensors[task.tensor], task);
  const char* grad = reach.begin_of(G{}, a.grads[task.tensor]);
  const Move whole = move_of(address_bits(grad));
  double columns[kGroup] = {};
  for (int begin = reach.first / kNormColumns * kNormColumns; begin < reach.last; begin += kNormColumns) {
    const Lane lane(reach, begin, static_cast<uint32_t>(here.thread), whole);
    const Eight<float> values = unpack(G{}, load_group(G{}, grad + bytes_of(G{}, lane.at), lane.move, lane.range));
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      const double value = values[i];  // 0 outside of the tensor
      columns[i] += value * value;
    }
  }
  const double sum = fold_warp(columns, 0);
  if (holds_folds(here.thread)) a.sums[here.block] = sum;
}

}  // namespace ql::cuda
