// What a step is seen to do, tallied block by block while it is in the cache. Included once per instruction set.
#pragma once

#include "../core/norm.h"
#include "../core/statistics.h"
#include "draws.h"
#include "kernel.h"

namespace ql::cpu {

// The values of one vector of elements on their way through the step.
template <class L>
struct Trace {
  typename L::F grad, displacement, delta, noise, old, param, stored;
};

// Which statistics are not 0 or equal to another, by what the step has.
struct Watched {
  bool displacement;  // it is quantized, or the pass stores nothing
  bool rest;          // the pass stores the step
  bool noise, rounding;

  bool sums(int statistic) const {
    if (statistic == Statistic::displacement_squares) return displacement;
    if (statistic == Statistic::displacement_sum || statistic == Statistic::quantizer_error) return displacement && rest;
    if (statistic == Statistic::noise_squares) return noise && rest;
    if (statistic == Statistic::rounding_squares) return rounding && rest;
    return rest && (statistic == Statistic::grad_squares || statistic == Statistic::update_squares);
  }
};

// The columns of one block of norm.h for each statistic, and the counts and the maximum lane by lane. Each vector of a block has
// lanes of its own, or every vector would wait for the store of the one before it.
template <class L>
struct Tally {
  static_assert(kNormColumns % kBlock<L> == 0, "a row of columns must hold whole blocks");
  using F = typename L::F;
  using I = typename L::I;
  Watched watched;
  static constexpr int vectors = kBlock<L> / L::width;
  I unmoved[vectors], zeroed[vectors];
  F largest[vectors];
  alignas(64) double columns[Statistic::count][kNormColumns];

  void clear() {
    for (int i = 0; i < Statistic::count; ++i) {
      if (watched.sums(i)) memset(columns[i], 0, sizeof(columns[i]));
    }
    for (int v = 0; v < vectors; ++v) unmoved[v] = zeroed[v] = I{}, largest[v] = F{};
  }

  QL_HD void add_value(int statistic, int column, typename L::D value) {
    typename L::D sums;
    memcpy(&sums, columns[statistic] + column, sizeof(sums));
    sums += value;
    memcpy(columns[statistic] + column, &sums, sizeof(sums));
  }
  // vector: of the block; `inside` is all ones in the lanes that count; the values of the others are 0.
  template <bool stores>
  QL_HD void add(int vector, const Trace<L>& trace, int column, I inside) {
    const typename L::D displacement = L::widen_double(trace.displacement);
    if (!stores || watched.displacement) {
      add_value(Statistic::displacement_squares, column, displacement * displacement);
      const F magnitude = L::magnitude(trace.displacement);
      largest[vector] = L::select(magnitude > largest[vector], magnitude, largest[vector]);
    }
    if constexpr (!stores) return;
    const typename L::D delta = L::widen_double(trace.delta), grad = L::widen_double(trace.grad);
    add_value(Statistic::update_squares, column, delta * delta);
    add_value(Statistic::grad_squares, column, grad * grad);
    if (watched.displacement) {
      add_value(Statistic::displacement_sum, column, displacement);
      add_value(Statistic::quantizer_error, column, delta - displacement);
    }
    if (watched.noise) {
      const typename L::D noise = L::widen_double(trace.noise);
      add_value(Statistic::noise_squares, column, noise * noise);
    }
    if (watched.rounding) {
      const typename L::D error = L::widen_double(trace.stored - trace.param);
      add_value(Statistic::rounding_squares, column, error * error);
    }
    unmoved[vector] -= (trace.stored == trace.old) & inside;
    zeroed[vector] -= (trace.delta == F{}) & inside;
  }

  [[gnu::noinline]] void finish(double* statistics) {
    for (int i = 0; i < Statistic::count; ++i) statistics[i] = watched.sums(i) ? fold_columns(columns[i]) : 0.0;
    if (!watched.displacement) statistics[Statistic::displacement_squares] = statistics[Statistic::update_squares];
    for (int i = 0; i < vectors * L::width; ++i) {
      const int vector = i / L::width, lane = i % L::width;
      statistics[Statistic::unmoved] += unmoved[vector][lane];
      statistics[Statistic::zeroed] += zeroed[vector][lane];
      if (largest[vector][lane] > statistics[Statistic::largest_displacement])
        statistics[Statistic::largest_displacement] = largest[vector][lane];
    }
    clear();
  }
};

alignas(64) inline constexpr uint32_t kLanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// The tally of one chunk on its way through memory; nothing for a step that is not observed.
template <class L, bool observed>
class Observation {
 public:
  Observation(const Launch&, const Chunk&, int64_t, Watched) {}
  void begin(int64_t, int, int) {}
  template <bool stores>
  QL_HD void add(int, const Trace<L>&) {}
  void end(int64_t, int64_t) {}
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

  // Elements [from, to) count of the block that begins at `block` of the unsharded tensor.
  void begin(int64_t block, int from, int to) {
    column_ = static_cast<int>(block % kNormColumns);
    from_ = from;
    to_ = to;
  }

  template <bool stores>
  QL_HD void add(int vector, Trace<L> trace) {
    typename L::I inside = typename L::I{} - 1;
    if (to_ - from_ < kBlock<L>) {
      const typename L::I index = L::signed_of(L::load_words(kLanes, 0)) + vector * L::width;
      inside = (index >= from_) & (index < to_);
      for (typename L::F* value : {&trace.grad, &trace.displacement, &trace.delta, &trace.noise, &trace.param, &trace.stored})
        *value = L::select(inside, *value, typename L::F{});
    }
    tally_.template add<stores>(vector, trace, column_ + vector * L::width, inside);
  }

  // last: where the chunk ends.
  void end(int64_t block, int64_t last) {
    if ((block + kBlock<L>) % kNormBlock != 0 && block + kBlock<L> < last) return;
    tally_.finish(statistics_);
    statistics_ += Statistic::count;
  }

 private:
  Tally<L> tally_;
  double* statistics_;
  int column_, from_, to_;
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
