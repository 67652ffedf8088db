// What a step is seen to do, tallied block by block while it is in the cache. Included once per instruction set.
#pragma once

#include "../core/norm.h"
#include "../core/statistics.h"
#include "draws.h"
#include "kernel.h"

namespace ql::cpu {

// The values of one block on their way through the step.
template <class L>
struct Trace {
  alignas(64) float grad[kBlock<L>];
  alignas(64) float displacement[kBlock<L>];
  alignas(64) float delta[kBlock<L>];
  alignas(64) float noise[kBlock<L>];
  alignas(64) float old[kBlock<L>];
  alignas(64) float param[kBlock<L>];
  alignas(64) float stored[kBlock<L>];
};

// Which statistics are not 0 or equal to another, by what the step has.
struct Watched {
  bool displacement;  // it is quantized, or the pass stores nothing
  bool rest;          // the pass stores the step
  bool noise, rounding;
};

// The columns of one block of norm.h for each statistic, filled from traces.
template <class L>
struct Tally {
  static_assert(kNormColumns % kBlock<L> == 0, "a row of columns must hold whole blocks");
  Watched watched;
  double columns[Statistic::count][kNormColumns];
  int64_t unmoved, zeroed;
  float largest;

  void clear() {
    memset(columns, 0, sizeof(columns));
    unmoved = zeroed = 0;
    largest = 0.0f;
  }

  // Elements [from, to) of a block whose first element belongs to `column`.
  QL_HD void add_range(const Trace<L>& trace, int column, int from, int to) {
    const auto add_squares = [&](int statistic, const float* values) {
      double* sums = columns[statistic] + column;
      for (int i = from; i < to; ++i) sums[i] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    };
    if (watched.displacement) {
      add_squares(Statistic::displacement_squares, trace.displacement);
      for (int i = from; i < to; ++i) {
        const float magnitude = __builtin_fabsf(trace.displacement[i]);
        largest = magnitude > largest ? magnitude : largest;
      }
    }
    if (!watched.rest) return;
    if (watched.displacement) {
      double* sums = columns[Statistic::displacement_sum] + column;
      double* errors = columns[Statistic::quantizer_error] + column;
      for (int i = from; i < to; ++i) {
        sums[i] += static_cast<double>(trace.displacement[i]);
        errors[i] += static_cast<double>(trace.delta[i]) - static_cast<double>(trace.displacement[i]);
      }
    }
    add_squares(Statistic::grad_squares, trace.grad);
    add_squares(Statistic::update_squares, trace.delta);
    if (watched.noise) add_squares(Statistic::noise_squares, trace.noise);
    if (watched.rounding) {
      double* sums = columns[Statistic::rounding_squares] + column;
      for (int i = from; i < to; ++i) {
        const float error = trace.stored[i] - trace.param[i];
        sums[i] += static_cast<double>(error) * static_cast<double>(error);
      }
    }
    int32_t still = 0, zeros = 0;
    for (int i = from; i < to; ++i) {
      still += trace.stored[i] == trace.old[i];
      zeros += trace.delta[i] == 0.0f;
    }
    unmoved += still;
    zeroed += zeros;
  }

  // Not inlined: one function serves all kernels.
  [[gnu::noinline]] void add(const Trace<L>& trace, int column, int from, int to) {
    if (from == 0 && to == kBlock<L>)
      add_range(trace, column, 0, kBlock<L>);
    else
      add_range(trace, column, from, to);
  }

  [[gnu::noinline]] void finish(double* statistics) {
    for (int i = 0; i < Statistic::count; ++i) statistics[i] = fold_columns(columns[i]);
    if (!watched.displacement) statistics[Statistic::displacement_squares] = statistics[Statistic::update_squares];
    statistics[Statistic::unmoved] = static_cast<double>(unmoved);
    statistics[Statistic::zeroed] = static_cast<double>(zeroed);
    statistics[Statistic::largest_displacement] = static_cast<double>(largest);
    clear();
  }
};

// The tally of one chunk on its way through memory; nothing for a step that is not observed.
template <class L, bool observed>
class Observation {
 public:
  Observation(const Launch&, const Chunk&, int64_t, Watched) {}
  Trace<L>* trace() { return nullptr; }
  void add(int64_t, int, int, int64_t) {}
};

template <class L>
class Observation<L, true> {
 public:
  // first: the chunk's first element in the unsharded tensor.
  Observation(const Launch& launch, const Chunk& chunk, int64_t first, Watched watched) {
    const int64_t before = first / kNormBlock - launch.tensors[chunk.tensor].offset / kNormBlock;
    statistics_ = launch.observer->statistics + (launch.observer->first_block[chunk.tensor] + before) * Statistic::count;
    tally_.watched = watched;
    tally_.clear();
  }
  Trace<L>* trace() { return &trace_; }

  // The trace's elements [from, to); `block` is where it begins and `last` where the chunk ends, in the unsharded tensor.
  void add(int64_t block, int from, int to, int64_t last) {
    tally_.add(trace_, static_cast<int>(block % kNormColumns), from, to);
    if ((block + kBlock<L>) % kNormBlock != 0 && block + kBlock<L> < last) return;
    tally_.finish(statistics_);
    statistics_ += Statistic::count;
  }

 private:
  Trace<L> trace_;
  Tally<L> tally_;
  double* statistics_;
};

// The sum of squares of elements [first, last) of one block of norm.h, which lie at `memory`.
template <class L, class T>
double square_range(const void* memory, int64_t first, int64_t last) {
  const auto* values = static_cast<const typename T::Bits*>(memory) - first;
  double columns[kNormColumns] = {};
  for (int64_t begin = first / kNormColumns * kNormColumns; begin < last; begin += kNormColumns) {
    const int64_t from = begin < first ? first : begin, to = last < begin + kNormColumns ? last : begin + kNormColumns;
    for (int64_t i = from; i < to; ++i) {
      const double value = widen<ScalarLanes>(T{}, values[i]);
      columns[i - begin] += value * value;
    }
  }
  return fold_columns(columns);
}

template <class L>
SquareRange find_squares(Storage type) {
  if (type == Storage::float32) return square_range<L, Float32>;
  if (type == Storage::bfloat16) return square_range<L, BFloat16>;
  return square_range<L, Float16>;
}

}  // namespace ql::cpu
