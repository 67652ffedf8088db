// Every core function over one lane type, behind plain pointers, so that lanes of differently compiled files can be compared.
// The files that fill a table use nothing of the standard library: the linker must not pick their copies for other files.
#pragma once

#include "../../csrc/core/update.h"
#include "draws.h"

namespace ql::test {

struct Elementwise {
  const char* name;
  bool float_result;  // a NaN's payload is then free
  void (*run)(const uint32_t* values, const uint32_t* random, uint32_t* out, int64_t count);
};

constexpr int kInputs =
    7;  // param, grad, state, then the bits of noise, grad quantizer, update quantizer, and patterns of the largest in blocks
struct StepIn {
  const uint32_t* arrays[kInputs];
};
struct StepOut {
  uint32_t *param, *state;
};

constexpr int kFunctions = 23;
struct LaneTable {
  const char* name;
  Elementwise functions[kFunctions];
  void (*draw_words)(Coordinates at, uint64_t first_group, uint32_t* words, int64_t groups);
  void (*draw_halves)(Coordinates at, uint64_t first_group, uint32_t purpose, uint32_t* words, int64_t groups);
  void (*plain)(const Row<Plain>& row, const StepIn& in, const StepOut& out, int64_t count);
  void (*momentum)(const Row<Momentum>& row, const StepIn& in, const StepOut& out, int64_t count);
};

// Tables of lanes that this build has; null where the processor cannot run them.
LaneTable portable_table();
LaneTable avx2_table();
LaneTable avx2_wide_table();
LaneTable avx512_table();

namespace lane_functions {

struct Gaussian {
  template <class L>
  static QL_HD typename L::U apply(typename L::U value, typename L::U) {
    return L::bits_of(gaussian<L>(value));
  }
};
struct Uniform {
  template <class L>
  static QL_HD typename L::U apply(typename L::U, typename L::U half) {
    return L::bits_of(uniform<L>(half));
  }
};
struct Rademacher {
  template <class L>
  static QL_HD typename L::U apply(typename L::U, typename L::U half) {
    return L::bits_of(rademacher<L>(half));
  }
};
struct WeightedBytes {
  template <class L>
  static QL_HD typename L::U apply(typename L::U value, typename L::U) {
    return L::template weighted_bytes<255u, 3u, 128u, 77u>(value, 5u);
  }
};
struct Floor {
  template <class L>
  static QL_HD typename L::U apply(typename L::U value, typename L::U) {
    return L::bits_of(floor_of<L>(L::float_of(value)));
  }
};
struct Unit {
  template <class L>
  static QL_HD typename L::U apply(typename L::U, typename L::U half) {
    return L::bits_of(unit_of<L>(half));
  }
};
template <GridRounding mode, int resolution>
struct Quantize {
  template <class L>
  static QL_HD typename L::U apply(typename L::U value, typename L::U half) {
    return L::bits_of(
        quantize<L>(L::float_of(value), mode, static_cast<float>(resolution), 1.0f / resolution, [&] { return half; }));
  }
};
template <class T, bool stochastic>
struct Round {
  template <class L>
  static QL_HD typename L::U apply(typename L::U value, typename L::U half) {
    return round<L>(T{}, L::float_of(value), stochastic, half);
  }
};
template <class T>
struct Widen {
  template <class L>
  static QL_HD typename L::U apply(typename L::U, typename L::U half) {
    return L::bits_of(widen<L>(T{}, half));
  }
};

template <class L, class Function>
void run(const uint32_t* values, const uint32_t* random, uint32_t* out, int64_t count) {
  for (int v = 0; v < count / L::width; ++v) {
    const typename L::U result = Function::template apply<L>(L::load_words(values, v), L::load_words(random, v));
    memcpy(out + v * L::width, &result, sizeof(result));
  }
}

template <class L>
void run_draw_words(Coordinates at, uint64_t first_group, uint32_t* words, int64_t groups) {
  for (int64_t g = 0; g < groups; g += L::counters) draw_words<L>(at, first_group + static_cast<uint64_t>(g), words + 8 * g);
}

template <class L>
void run_draw_halves(Coordinates at, uint64_t first_group, uint32_t purpose, uint32_t* words, int64_t groups) {
  for (int64_t g = 0; g < groups; g += L::counters)
    draw_halves<L>(at, first_group + static_cast<uint64_t>(g), purpose, words + 4 * g);
}

template <class L, class Rule>
void run_step(const Row<Rule>& row, const StepIn& in, const StepOut& out, int64_t count) {
  for (int v = 0; v < count / L::width; ++v) {
    Element<L, Rule> e{};
    Random<L> random{};
    e.param = L::float_of(L::load_words(in.arrays[0], v));
    e.grad = L::float_of(L::load_words(in.arrays[1], v));
    e.states[0] = L::float_of(L::load_words(in.arrays[2], v));
    e.largest = L::load_words(in.arrays[6], v);
    random.noise = noise_value<L>(row.common.noise, L::load_words(in.arrays[3], v));
    random.grad = L::load_words(in.arrays[4], v);
    random.update = L::load_words(in.arrays[5], v);
    update<L, Rule>(row, row.common.noise_scale > 0.0f, Float32{}, random, e);
    memcpy(out.param + v * L::width, &e.param, sizeof(e.param));
    memcpy(out.state + v * L::width, &e.states[0], sizeof(e.states[0]));
  }
}

template <class L>
LaneTable make_table(const char* name) {
  using G = GridRounding;
  return {name,
          {{"gaussian", false, run<L, Gaussian>},
           {"uniform", false, run<L, Uniform>},
           {"rademacher", false, run<L, Rademacher>},
           {"weighted_bytes", false, run<L, WeightedBytes>},
           {"floor_of", true, run<L, Floor>},
           {"unit_of", false, run<L, Unit>},
           {"quantize nearest 64", true, run<L, Quantize<G::nearest, 64>>},
           {"quantize stochastic 64", true, run<L, Quantize<G::stochastic, 64>>},
           {"quantize floor 64", true, run<L, Quantize<G::floor, 64>>},
           {"quantize dither 64", true, run<L, Quantize<G::dither, 64>>},
           {"quantize nearest 100", true, run<L, Quantize<G::nearest, 100>>},
           {"quantize stochastic 100", true, run<L, Quantize<G::stochastic, 100>>},
           {"quantize floor 100", true, run<L, Quantize<G::floor, 100>>},
           {"quantize dither 100", true, run<L, Quantize<G::dither, 100>>},
           {"round fp32 nearest", false, run<L, Round<Float32, false>>},
           {"round fp32 stochastic", false, run<L, Round<Float32, true>>},
           {"round bf16 nearest", false, run<L, Round<BFloat16, false>>},
           {"round bf16 stochastic", false, run<L, Round<BFloat16, true>>},
           {"round fp16 nearest", false, run<L, Round<Float16, false>>},
           {"round fp16 stochastic", false, run<L, Round<Float16, true>>},
           {"widen fp32", false, run<L, Widen<Float32>>},
           {"widen bf16", false, run<L, Widen<BFloat16>>},
           {"widen fp16", false, run<L, Widen<Float16>>}},
          run_draw_words<L>,
          run_draw_halves<L>,
          run_step<L, Plain>,
          run_step<L, Momentum>};
}

}  // namespace lane_functions
}  // namespace ql::test
