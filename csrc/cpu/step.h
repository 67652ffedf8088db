// Memory around update.h: blocks of a chunk are drawn, loaded, stepped and stored. Included once per instruction set.
#pragma once

#include <algorithm>
#include <type_traits>

#include "draws.h"
#include "kernel.h"
#include "observe.h"

namespace ql::cpu {

static_assert(kMaxStateTensors == kMaxStates);

template <class Rule, class P, class G, class S>
QL_HD Reads list_reads(const StoredAs<P, G, S>& types, const Scalars& s, bool noisy) {
  Reads reads{};
  reads.noise = noisy;
  reads.slots[kParam] = bytes_of(types.param) == 2 && s.stochastic_param;
  reads.slots[kGrad] = draws(s.grad_rounding);
  reads.slots[kUpdate] = draws(s.update_rounding);
  for (int k = 0; k < Rule::states; ++k) reads.slots[kState + k] = bytes_of(types.state) == 2 && s.stochastic_state;
  return reads;
}

// 16 bits a lane, or zeros where the step reads none. (Zeroing the whole of Random at once would go through memory.)
template <class L>
QL_HD typename L::U load_slot(const Reads& reads, const Bits<L>& bits, int slot, int vector) {
  return reads.slots[slot] ? L::load_halves(bits.halves[slot], vector) : L::splat(0u);
}

template <class L, class Rule>
QL_HD Random<L> load_random(const Reads& reads, const Bits<L>& bits, int vector) {
  Random<L> random;
  random.noise = L::float_of(reads.noise ? L::load_words(bits.noise, vector) : L::splat(0u));
  random.param = load_slot<L>(reads, bits, kParam, vector);
  random.grad = load_slot<L>(reads, bits, kGrad, vector);
  random.update = load_slot<L>(reads, bits, kUpdate, vector);
  for (int k = 0; k < Rule::states; ++k) random.state[k] = load_slot<L>(reads, bits, kState + k, vector);
  return random;
}

template <class L, class T>
QL_HD typename L::F load(T type, const char* memory, int vector) {
  const auto* words = reinterpret_cast<const uint32_t*>(memory);
  return widen<L>(type, bytes_of(type) == 4 ? L::load_words(words, vector) : L::load_halves(words, vector));
}

// Returns the value as stored.
template <class L, class T>
QL_HD typename L::F store(T type, char* memory, int vector, typename L::F value, bool stochastic, typename L::U half) {
  const typename L::U pattern = round<L>(type, value, stochastic, half);
  if (bytes_of(type) == 4)
    L::store_words(reinterpret_cast<uint32_t*>(memory), vector, pattern);
  else
    L::store_halves(reinterpret_cast<uint16_t*>(memory), vector, pattern);
  return widen<L>(type, pattern);
}

// What one pass over a chunk does besides the row's scalars. largest: of the present block of gradients (core/update.h).
struct Pass {
  bool noisy;
  Reads reads;
  uint32_t largest = 0;
};

// The largest magnitude among gradients, as a pattern.
template <class L, class G>
[[gnu::noinline]] uint32_t largest_grad(const Scalars& s, G type, const char* memory, int64_t count) {
  return with_type(type, [&](auto known) {
    using Bits = typename decltype(known)::Bits;
    const auto* bits = reinterpret_cast<const Bits*>(memory);
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float g = unscale<ScalarLanes>(s, widen<ScalarLanes>(known, bits[i]));
      largest = std::max(largest, pattern_of_magnitude<ScalarLanes>(g));
    }
    return largest;
  });
}

// Where a block's values lie, and what they are stored as.
template <class P, class G, class S>
struct Memory {
  StoredAs<P, G, S> types;
  char* param;
  const char* grad;
  char* states[kMaxStates];
};

template <bool stores, class L, class Rule, class P, class G, class S, bool observed>
QL_HD void step_block(const Row<Rule>& row, const Pass& pass, const Bits<L>& bits, Memory<P, G, S> at,
                      Observation<L, observed>& observation) {
  const Scalars& s = row.common;
  for (int v = 0; v < kBlock<L> / L::width; ++v) {
    const Random<L> random = load_random<L, Rule>(pass.reads, bits, v);
    Element<L, Rule> e;
    e.param = load<L>(at.types.param, at.param, v);
    e.grad = load<L>(at.types.grad, at.grad, v);
    e.largest = L::splat(pass.largest);
    for (int k = 0; k < Rule::states; ++k) e.states[k] = load<L>(at.types.state, at.states[k], v);
    const typename L::F old = e.param;
    typename L::F stored = old;
    update<L, Rule>(row, pass.noisy, at.types.param, random, e);
    if constexpr (stores) {
      if (s.lr != 0.0f) stored = store<L>(at.types.param, at.param, v, e.param, s.stochastic_param, random.param);
      for (int k = 0; k < Rule::states; ++k)
        store<L>(at.types.state, at.states[k], v, e.states[k], s.stochastic_state, random.state[k]);
    }
    if constexpr (observed) {
      const typename L::F noise = moving_noise<L, Rule>(row, e, random.noise);
      observation.template add<stores>(v, {unscale<L>(s, e.grad), e.displacement, e.delta, noise, old, e.param, stored});
    }
  }
}

// A block that reaches over the chunk's ends: its elements [from, to) go through buffers of a whole block.
template <class L, class Rule, class P, class G, class S>
struct Edge {
  static constexpr size_t kBytes = 4 * kBlock<L>;
  char param[kBytes], grad[kBytes], states[Rule::states > 0 ? Rule::states : 1][kBytes];

  [[gnu::noinline]] Memory<P, G, S> load(const Memory<P, G, S>& at, int64_t from, int64_t to) {
    *this = {};
    const auto copy = [&](char* inside, const char* memory, size_t width) {
      memcpy(inside + static_cast<size_t>(from) * width, memory + from * static_cast<int64_t>(width),
             static_cast<size_t>(to - from) * width);
    };
    copy(param, at.param, bytes_of(at.types.param));
    copy(grad, at.grad, bytes_of(at.types.grad));
    Memory<P, G, S> inside{at.types, param, grad, {}};
    for (int k = 0; k < Rule::states; ++k) {
      copy(states[k], at.states[k], bytes_of(at.types.state));
      inside.states[k] = states[k];
    }
    return inside;
  }
  [[gnu::noinline]] void store(const Memory<P, G, S>& at, int64_t from, int64_t to) const {
    const auto copy = [&](char* memory, const char* inside, size_t width) {
      memcpy(memory + from * static_cast<int64_t>(width), inside + static_cast<size_t>(from) * width,
             static_cast<size_t>(to - from) * width);
    };
    copy(at.param, param, bytes_of(at.types.param));
    for (int k = 0; k < Rule::states; ++k) copy(at.states[k], states[k], bytes_of(at.types.state));
  }
};

template <class Rule, class P, class G, class S>
QL_HD Memory<P, G, S> memory_at(const StoredAs<P, G, S>& types, const Tensor& tensor, const void* grad, int64_t element) {
  const auto shift = [&](auto* memory, auto type) { return memory + element * static_cast<int64_t>(bytes_of(type)); };
  Memory<P, G, S> at{
      types, shift(static_cast<char*>(tensor.param), types.param), shift(static_cast<const char*>(grad), types.grad), {}};
  for (int k = 0; k < Rule::states; ++k) at.states[k] = shift(static_cast<char*>(tensor.states[k]), types.state);
  return at;
}

// What a step contains is known before its first element. The two usual kinds are compiled without the branches of what they
// lack, which are a third of their instructions: nothing random, with or without an update quantizer to nearest; and noise, every
// 16-bit tensor rounded stochastically, with or without an update quantizer. Of any kind are an observed step and one that is
// only looked at, ahead of being taken.
enum class Kind { any, plain, langevin, observed, ahead };

template <class Rule, class P, class G, class S>
QL_HD Kind kind_of(const StoredAs<P, G, S>& types, const Scalars& s, bool noisy) {
  const Reads reads = list_reads<Rule>(types, s, noisy);
  const bool half_param = bytes_of(types.param) == 2, half_state = Rule::states > 0 && bytes_of(types.state) == 2;
  if (s.grad_rounding != GridRounding::off || s.corrected_param) return Kind::any;
  if (noisy && reads.slots[kParam] == half_param && reads.slots[kState] == half_state) return Kind::langevin;
  const bool random = noisy || reads.slots[kParam] || reads.slots[kState];
  const bool simple = s.update_rounding == GridRounding::off || s.update_rounding == GridRounding::nearest;
  return random || !simple ? Kind::any : Kind::plain;
}

// Tells the compiler what a kind means.
template <Kind kind>
QL_HD void assume(Scalars& s, bool& noisy) {
  if (kind != Kind::plain && kind != Kind::langevin) return;
  s.grad_rounding = GridRounding::off;
  s.corrected_param = s.grad_blocks = false;
  s.stochastic_param = s.stochastic_state = noisy = kind == Kind::langevin;
  if (kind == Kind::plain && s.update_rounding != GridRounding::off) s.update_rounding = GridRounding::nearest;
  if (kind == Kind::langevin) s.compensation = 0.0f;
}

template <class Rule>
QL_HD const Row<Rule>& row_at(const Launch& launch, const Chunk& chunk) {
  return static_cast<const Row<Rule>*>(launch.rows)[launch.row_of[chunk.tensor]];
}

QL_HD bool is_noisy(const Launch& launch, const Chunk& chunk, const Scalars& s) {
  return launch.tensors[chunk.tensor].noise && s.noise_scale > 0.0f;
}

// Which draws a pass needs.
template <class Rule, class P, class G, class S>
QL_HD Pass plan_pass(const StoredAs<P, G, S>& types, const Scalars& s, bool noisy, bool stores) {
  Pass pass{noisy, list_reads<Rule>(types, s, noisy)};
  if (!stores) {  // what comes after the displacement is not looked at
    pass.noisy = pass.reads.noise = noisy && Rule::site == NoiseSite::velocity;
    pass.reads.slots[kParam] = pass.reads.slots[kUpdate] = false;
    for (int k = 0; k < kMaxStates; ++k) pass.reads.slots[kState + k] = false;
  }
  return pass;
}

template <Kind kind, class L, class Rule, class P, class G, class S>
void step_chunk(const Launch& launch, const Chunk& chunk) {
  constexpr bool observed = kind == Kind::observed || kind == Kind::ahead, stores = kind != Kind::ahead;
  const Tensor& tensor = launch.tensors[chunk.tensor];
  Row<Rule> row = row_at<Rule>(launch, chunk);  // a copy: stores to the tensors do not alias it
  Scalars& s = row.common;
  s.compensation = launch.compensations && stores ? launch.compensations[chunk.tensor] : 0.0f;
  bool noisy = is_noisy(launch, chunk, s);
  assume<kind>(s, noisy);
  const StoredAs<P, G, S> types(launch.types);
  Pass pass = plan_pass<Rule>(types, s, noisy, stores);
  const Coordinates at{{static_cast<uint32_t>(tensor.key), static_cast<uint32_t>(tensor.key >> 32)}, row.step, row.chain};
  const int64_t first = tensor.offset + chunk.begin, last = tensor.offset + chunk.end;  // of the unsharded tensor
  Bits<L> bits;
  const NoiseLaw law{s.noise, launch.tail_indices ? launch.tail_indices[chunk.tensor] : 0.0};
  const Draws<L> draws(at, law, static_cast<uint32_t>(first / kGroup >> 32), pass.reads, bits);
  Edge<L, Rule, P, G, S> edge;
  const Watched watched{s.update_rounding != GridRounding::off || !stores, stores, noisy,
                        bytes_of(types.param) == 2 && s.lr != 0.0f};
  Observation<L, observed> observation(launch, chunk, first, watched);
  for (int64_t block = first / kBlock<L> * kBlock<L>; block < last; block += kBlock<L>) {
    if (draws.any()) draw_block<L>(draws, static_cast<uint32_t>(block / kGroup), bits.noise);
    const Memory<P, G, S> memory = memory_at<Rule>(types, tensor, launch.grads[chunk.tensor], block - tensor.offset);
    const int64_t from = std::max<int64_t>(first - block, 0), to = std::min<int64_t>(last - block, kBlock<L>);
    if (s.grad_blocks && (block % kGradBlock == 0 || block <= first)) {
      const int64_t count = std::min<int64_t>(last, block / kGradBlock * kGradBlock + kGradBlock) - (block + from);
      pass.largest = largest_grad<L>(s, types.grad, memory.grad + from * bytes_of(types.grad), count);
    }
    const bool partial = to - from < kBlock<L>;
    observation.begin(block, static_cast<int>(from), static_cast<int>(to));
    step_block<stores, L, Rule>(row, pass, bits, partial ? edge.load(memory, from, to) : memory, observation);
    if (partial && stores) edge.store(memory, from, to);
    observation.end(block, last);
  }
}

}  // namespace ql::cpu
