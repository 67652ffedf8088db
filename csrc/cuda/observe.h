// What a step is seen to do: each lane tallies its columns of one block of core/norm.h in registers.
#pragma once

#include "task.h"

namespace ql::cuda {

// The values of a group on their way through the step: tallied as soon as they are there, for registers are scarce.
struct Moving {
  Eight<float> grad, displacement, delta, noise;
};

struct Moved {
  Eight<float> old, param, stored;
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

  QL_HD void add_one(const Moving& moving, const Watched& watched, int i) {
    const double displacement = moving.displacement[i], delta = moving.delta[i];
    const double grad = moving.grad[i], noise = moving.noise[i];
    if (watched.displacement) {
      columns[Statistic::displacement_squares][i] += displacement * displacement;
      const float magnitude = fabsf(moving.displacement[i]);
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
    zeroed += moving.delta[i] == 0.0f;
  }

  QL_HD void add_one(const Moved& moved, const Watched& watched, int i) {
    if (!watched.rest) return;
    if (watched.rounding) {
      const double error = moved.stored[i] - moved.param[i];
      columns[Statistic::rounding_squares][i] += error * error;
    }
    unmoved += moved.stored[i] == moved.old[i];
  }

  template <class Values>
  QL_HD void add(const Values& values, const Watched& watched, Range range) {
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      if (i >= range.from && i < range.to) add_one(values, watched, i);
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
