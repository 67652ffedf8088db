// What a step is seen to do: each lane tallies its columns of one block of core/norm.h in registers.
#pragma once

#include "task.h"

namespace ql::cuda {

// The values of a group on their way through the step.
struct Trace {
  Eight<float> grad, displacement, delta, noise, old, param, stored;
};

// Which statistics are not 0 or equal to another, by what the step has.
struct Watched {
  bool displacement;  // it is quantized, or the pass stores nothing
  bool rest;          // the pass stores the step
  bool noise, rounding;
};

struct Tally {
  double columns[Statistic::unmoved][kGroup];
  int unmoved, zeroed;
  float largest;

  QL_HD void clear() { *this = {}; }

  QL_HD void add_one(const Trace& trace, const Watched& watched, int i) {
    const double displacement = trace.displacement[i], delta = trace.delta[i], grad = trace.grad[i], noise = trace.noise[i];
    if (watched.displacement) {
      columns[Statistic::displacement_squares][i] += displacement * displacement;
      const float magnitude = fabsf(trace.displacement[i]);
      if (magnitude > largest) largest = magnitude;
    }
    if (!watched.rest) return;
    columns[Statistic::update_squares][i] += delta * delta;
    columns[Statistic::grad_squares][i] += grad * grad;
    if (watched.displacement) {
      columns[Statistic::displacement_sum][i] += displacement;
      columns[Statistic::quantizer_error][i] += delta - displacement;
    }
    if (watched.noise) columns[Statistic::noise_squares][i] += noise * noise;
    if (watched.rounding) {
      const double error = trace.stored[i] - trace.param[i];
      columns[Statistic::rounding_squares][i] += error * error;
    }
    unmoved += trace.stored[i] == trace.old[i];
    zeroed += trace.delta[i] == 0.0f;
  }

  QL_HD void add(const Trace& trace, const Watched& watched, Range range) {
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      if (i >= range.from && i < range.to) add_one(trace, watched, i);
    }
  }

  QL_HD void finish(const Watched& watched, int lane, double* statistics) {
    double found[Statistic::count];
    QL_UNROLL
    for (int k = 0; k < Statistic::unmoved; ++k) found[k] = fold_warp(columns[k], k);
    if (!watched.displacement) found[Statistic::displacement_squares] = found[Statistic::update_squares];
    double counts[2][kGroup] = {{static_cast<double>(unmoved)}, {static_cast<double>(zeroed)}};
    found[Statistic::unmoved] = fold_warp(counts[0], Statistic::unmoved);
    found[Statistic::zeroed] = fold_warp(counts[1], Statistic::zeroed);
    found[Statistic::largest_displacement] = largest_in_warp(largest);
    if (!holds_folds(lane)) return;
    QL_UNROLL
    for (int k = 0; k < Statistic::count; ++k) statistics[k] = found[k];
  }
};

}  // namespace ql::cuda
