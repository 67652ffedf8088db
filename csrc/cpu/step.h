// Memory around update.h: tiles of a chunk are loaded, stepped and stored. Included once per instruction set.
#pragma once

#include <type_traits>

#include "../core/update.h"
#include "kernel.h"
#include "lanes.h"

namespace ql::cpu {

static_assert(kMaxStateTensors == kMaxStates);

// Random bits of one tile in memory order; a draw that the step does not want leaves its buffer alone.
template <class L>
struct Bits {
  alignas(64) uint32_t noise[8 * L::counters];
  alignas(64) uint32_t halves[3 + kMaxStates][4 * L::counters];
};

enum Slot { kParam = 0, kGrad = 1, kUpdate = 2, kState = 3 };

// The draws of 16 bits that a step wants, so that they can run in pairs.
template <class L>
struct Wanted {
  bool words = false, noise_halves = false, slots[3 + kMaxStates] = {};
  int count = 0;
  uint32_t purposes[4 + kMaxStates];
  uint32_t* buffers[4 + kMaxStates];

  QL_HD void add(uint32_t purpose, uint32_t* buffer) {
    purposes[count] = purpose;
    buffers[count++] = buffer;
  }
  QL_HD void add_slot(int slot, uint32_t purpose, Bits<L>& bits) {
    slots[slot] = true;
    add(purpose, bits.halves[slot]);
  }
};

QL_HD bool draws(GridRounding rounding) {
  return rounding == GridRounding::stochastic || rounding == GridRounding::dither;
}

template <class L, class Rule, class P, class S>
QL_HD Wanted<L> list_draws(const Scalars& s, bool noisy, Bits<L>& bits) {
  Wanted<L> wanted;
  wanted.words = noisy && s.noise == NoiseKind::gaussian;
  wanted.noise_halves = noisy && s.noise != NoiseKind::gaussian;
  if (wanted.noise_halves) wanted.add(Purpose::noise, bits.noise);
  if (sizeof(typename P::Bits) == 2 && s.stochastic_param) wanted.add_slot(kParam, Purpose::param_rounding, bits);
  if (draws(s.grad_rounding)) wanted.add_slot(kGrad, Purpose::grad_quantizer, bits);
  if (draws(s.update_rounding)) wanted.add_slot(kUpdate, Purpose::update_quantizer, bits);
  for (int k = 0; k < Rule::states; ++k) {
    if (sizeof(typename S::Bits) == 2 && s.stochastic_state) wanted.add_slot(kState + k, Purpose::state_rounding + k, bits);
  }
  return wanted;
}

template <class L>
QL_HD void draw_tile(const Coordinates& at, uint64_t group, const Wanted<L>& wanted, Bits<L>& bits) {
  if (wanted.words) draw_words<L>(at, group, bits.noise);
  int i = 0;
  for (; i + 1 < wanted.count; i += 2) {
    const uint32_t purposes[2] = {wanted.purposes[i], wanted.purposes[i + 1]};
    uint32_t* const buffers[2] = {wanted.buffers[i], wanted.buffers[i + 1]};
    draw_halves<L, 2>(at, group, purposes, buffers);
  }
  if (i < wanted.count) {
    const uint32_t purposes[1] = {wanted.purposes[i]};
    uint32_t* const buffers[1] = {wanted.buffers[i]};
    draw_halves<L, 1>(at, group, purposes, buffers);
  }
}

template <class L, class Rule>
QL_HD Random<L> load_random(const Wanted<L>& wanted, const Bits<L>& bits, int vector) {
  Random<L> random{};
  if (wanted.words) random.noise = L::load_words(bits.noise, vector);
  if (wanted.noise_halves) random.noise = L::load_halves(bits.noise, vector);
  if (wanted.slots[kParam]) random.param = L::load_halves(bits.halves[kParam], vector);
  if (wanted.slots[kGrad]) random.grad = L::load_halves(bits.halves[kGrad], vector);
  if (wanted.slots[kUpdate]) random.update = L::load_halves(bits.halves[kUpdate], vector);
  for (int k = 0; k < Rule::states; ++k) {
    if (wanted.slots[kState + k]) random.state[k] = L::load_halves(bits.halves[kState + k], vector);
  }
  return random;
}

template <class L, class T>
QL_HD typename L::F load(const typename T::Bits* memory, int vector) {
  if constexpr (sizeof(typename T::Bits) == 4)
    return widen<L>(T{}, L::load_words(memory, vector));
  else
    return widen<L>(T{}, L::load_halves(reinterpret_cast<const uint32_t*>(memory), vector));
}

template <class L, class T>
QL_HD void store(typename T::Bits* memory, int vector, typename L::F value, bool stochastic, typename L::U half) {
  const typename L::U pattern = round<L>(T{}, value, stochastic, half);
  if constexpr (sizeof(typename T::Bits) == 4)
    L::store_words(memory, vector, pattern);
  else
    L::store_halves(memory, vector, pattern);
}

// Where a tile's values lie.
template <class P, class G, class S>
struct Memory {
  typename P::Bits* param;
  const typename G::Bits* grad;
  typename S::Bits* states[kMaxStates];
};

template <class L, class Rule, class P, class G, class S>
QL_HD void step_tile(const Row<Rule>& row, bool noisy, const Wanted<L>& wanted, const Bits<L>& bits, Memory<P, G, S> at) {
  const Scalars& s = row.common;
  for (int v = 0; v < kTile<L> / L::width; ++v) {
    const Random<L> random = load_random<L, Rule>(wanted, bits, v);
    Element<L, Rule> e{};
    e.param = load<L, P>(at.param, v);
    e.grad = load<L, G>(at.grad, v);
    for (int k = 0; k < Rule::states; ++k) e.states[k] = load<L, S>(at.states[k], v);
    update<L, Rule>(row, noisy, random, e);
    if (s.lr != 0.0f) store<L, P>(at.param, v, e.param, s.stochastic_param, random.param);
    for (int k = 0; k < Rule::states; ++k) store<L, S>(at.states[k], v, e.states[k], s.stochastic_state, random.state[k]);
  }
}

// A tile that reaches over the chunk's ends: its elements [from, to) go through buffers of a whole tile.
template <class L, class Rule, class P, class G, class S>
struct Edge {
  typename P::Bits param[kTile<L>] = {};
  typename G::Bits grad[kTile<L>] = {};
  typename S::Bits states[Rule::states > 0 ? Rule::states : 1][kTile<L>] = {};

  Memory<P, G, S> load(const Memory<P, G, S>& at, int64_t from, int64_t to) {
    const size_t count = static_cast<size_t>(to - from);
    memcpy(param + from, at.param + from, count * sizeof(*param));
    memcpy(grad + from, at.grad + from, count * sizeof(*grad));
    Memory<P, G, S> inside{param, grad, {}};
    for (int k = 0; k < Rule::states; ++k) {
      memcpy(states[k] + from, at.states[k] + from, count * sizeof(*states[k]));
      inside.states[k] = states[k];
    }
    return inside;
  }
  void store(const Memory<P, G, S>& at, int64_t from, int64_t to) const {
    const size_t count = static_cast<size_t>(to - from);
    memcpy(at.param + from, param + from, count * sizeof(*param));
    for (int k = 0; k < Rule::states; ++k) memcpy(at.states[k] + from, states[k] + from, count * sizeof(*states[k]));
  }
};

template <class Rule, class P, class G, class S>
QL_HD Memory<P, G, S> memory_at(const Tensor& tensor, const void* grad, int64_t element) {
  Memory<P, G, S> at{};
  at.param = static_cast<typename P::Bits*>(tensor.param) + element;
  at.grad = static_cast<const typename G::Bits*>(grad) + element;
  for (int k = 0; k < Rule::states; ++k) at.states[k] = static_cast<typename S::Bits*>(tensor.states[k]) + element;
  return at;
}

template <class L, class Rule, class P, class G, class S>
void step_chunk(const Launch& launch, const Chunk& chunk) {
  const Tensor& tensor = launch.tensors[chunk.tensor];
  const Row<Rule>& row = static_cast<const Row<Rule>*>(launch.rows)[launch.row_of[chunk.tensor]];
  const Coordinates at{{static_cast<uint32_t>(tensor.key), static_cast<uint32_t>(tensor.key >> 32)}, row.step, row.chain};
  const bool noisy = tensor.noise && row.common.noise_scale > 0.0f;
  Bits<L> bits;
  const Wanted<L> wanted = list_draws<L, Rule, P, S>(row.common, noisy, bits);
  const int64_t first = tensor.offset + chunk.begin, last = tensor.offset + chunk.end;  // of the unsharded tensor
  for (int64_t tile = first / kTile<L> * kTile<L>; tile < last; tile += kTile<L>) {
    draw_tile<L>(at, static_cast<uint64_t>(tile / kGroup), wanted, bits);
    const Memory<P, G, S> memory = memory_at<Rule, P, G, S>(tensor, launch.grads[chunk.tensor], tile - tensor.offset);
    if (tile >= first && tile + kTile<L> <= last) {
      step_tile<L, Rule>(row, noisy, wanted, bits, memory);
    } else {
      const int64_t from = std::max<int64_t>(first - tile, 0), to = std::min<int64_t>(last - tile, kTile<L>);
      Edge<L, Rule, P, G, S> edge;
      step_tile<L, Rule>(row, noisy, wanted, bits, edge.load(memory, from, to));
      edge.store(memory, from, to);
    }
  }
}

template <class L, class Rule, class P, class G, class S>
void step_chunks(const Launch& launch, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) step_chunk<L, Rule, P, G, S>(launch, launch.chunks[i]);
}

template <class L, class Rule, class P, class G>
Kernel find_state(Storage state) {
  if (Rule::states == 0 || state == Storage::float32) return step_chunks<L, Rule, P, G, Float32>;
  if constexpr (Rule::states > 0) {
    if (state == Storage::bfloat16) return step_chunks<L, Rule, P, G, BFloat16>;
  }
  return nullptr;
}

template <class L, class Rule, class P>
Kernel find_grad(Storage grad, Storage state) {
  if (grad == Storage::float32) return find_state<L, Rule, P, Float32>(state);
  if (grad == Storage::bfloat16) return find_state<L, Rule, P, BFloat16>(state);
  return find_state<L, Rule, P, Float16>(state);
}

template <class L, class Rule>
Kernel find_param(Storage param, Storage grad, Storage state) {
  if (param == Storage::float32) return find_grad<L, Rule, Float32>(grad, state);
  if (param == Storage::bfloat16) return find_grad<L, Rule, BFloat16>(grad, state);
  return find_grad<L, Rule, Float16>(grad, state);
}

template <class L, class... Rules>
Kernel find_rule(RuleList<Rules...>, int rule, Storage param, Storage grad, Storage state) {
  Kernel found = nullptr;
  int index = 0;
  ((index++ == rule ? void(found = find_param<L, Rules>(param, grad, state)) : void()), ...);
  return found;
}

template <class L>
Kernel find_kernel(int rule, Storage param, Storage grad, Storage state) {
  return find_rule<L>(AllRules{}, rule, param, grad, state);
}

}  // namespace ql::cpu
