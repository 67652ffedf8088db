// Numbers to sums of up to kNormBlock of them, in the order of core/norm.h; one warp for each sum. Included once.
#pragma once

#include "gpu.h"
#include "kernel.h"

namespace ql::cuda {

__global__ void __launch_bounds__(kWarp) fold_kernel(const __grid_constant__ FoldArguments a) {
  const Place here = place();
  if (a.found_inf != nullptr && *a.found_inf != 0.0f) return;
  const int64_t index = here.block / a.width;
  const int statistic = static_cast<int>(here.block % a.width);
  Fold fold{};
  if (a.folds != nullptr) {
    fold = a.folds[index];
  } else {
    const int64_t first = index * kNormBlock, left = a.value_count - first;
    fold = {first, static_cast<int32_t>(left < kNormBlock ? left : kNormBlock), static_cast<int32_t>(index)};
  }
  double columns[kGroup] = {}, largest = 0.0;
  for (int begin = 0; begin < fold.count; begin += kNormColumns) {
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      const int at = begin + here.thread * kGroup + i;
      const double value = at < fold.count ? a.values[(fold.first + at) * a.value_stride + statistic] : 0.0;
      columns[i] += value;
      if (value > largest) largest = value;
    }
  }
  const double sum = fold_warp(columns, 0);
  const double most = largest_in_warp(static_cast<float>(largest));  // it was a binary32 number
  const bool maximum = a.width == Statistic::count && statistic == Statistic::largest_displacement;
  if (holds_folds(here.thread)) a.sums[fold.to * static_cast<int64_t>(a.sum_stride) + statistic] = maximum ? most : sum;
}

}  // namespace ql::cuda
