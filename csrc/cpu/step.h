// Memory around update.h: blocks of a chunk are drawn, loaded, stepped and stored. Included once per instruction set.
#pragma once

#include <algorithm>
#include <type_traits>

#include "draws.h"
#include "kernel.h"
#include "observe.h"

namespace ql::cpu {

static_assert(kMaxStateTensors == kMaxStates);

template <class Rule, class P, class S>
QL_HD Reads list_reads(const Scalars& s, bool noisy) {
  Reads reads{};
  reads.noise = noisy;
  reads.slots[kParam] = sizeof(typename P::Bits) == 2 && s.stochastic_param;
  reads.slots[kGrad] = draws(s.grad_rounding);
  reads.slots[kUpdate] = draws(s.update_rounding);
  for (int k = 0; k < Rule::states; ++k) reads.slots[kState + k] = sizeof(typename S::Bits) == 2 && s.stochastic_state;
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
QL_HD typename L::F load(const typename T::Bits* memory, int vector) {
  if constexpr (sizeof(typename T::Bits) == 4)
    return widen<L>(T{}, L::load_words(memory, vector));
  else
    return widen<L>(T{}, L::load_halves(reinterpret_cast<const uint32_t*>(memory), vector));
}

// Returns the value as stored.
template <class L, class T>
QL_HD typename L::F store(typename T::Bits* memory, int vector, typename L::F value, bool stochastic, typename L::U half) {
  const typename L::U pattern = round<L>(T{}, value, stochastic, half);
  if constexpr (sizeof(typename T::Bits) == 4)
    L::store_words(memory, vector, pattern);
  else
    L::store_halves(memory, vector, pattern);
  return widen<L>(T{}, pattern);
}

// What one pass over a chunk does besides the row's scalars.
struct Pass {
  bool noisy;
  Reads reads;
};

// Where a tile's values lie.
template <class P, class G, class S>
struct Memory {
  typename P::Bits* param;
  const typename G::Bits* grad;
  typename S::Bits* states[kMaxStates];
};

template <bool stores, class L, class Rule, class P, class G, class S, bool observed>
QL_HD void step_block(const Row<Rule>& row, const Pass& pass, const Bits<L>& bits, Memory<P, G, S> at,
                      Observation<L, observed>& observation) {
  const Scalars& s = row.common;
  for (int v = 0; v < kBlock<L> / L::width; ++v) {
    const Random<L> random = load_random<L, Rule>(pass.reads, bits, v);
    Element<L, Rule> e;
    e.param = load<L, P>(at.param, v);
    e.grad = load<L, G>(at.grad, v);
    for (int k = 0; k < Rule::states; ++k) e.states[k] = load<L, S>(at.states[k], v);
    const typename L::F old = e.param;
    typename L::F stored = old;
    update<L, Rule>(row, pass.noisy, P{}, random, e);
    if constexpr (stores) {
      if (s.lr != 0.0f) stored = store<L, P>(at.param, v, e.param, s.stochastic_param, random.param);
      for (int k = 0; k < Rule::states; ++k) store<L, S>(at.states[k], v, e.states[k], s.stochastic_state, random.state[k]);
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
  typename P::Bits param[kBlock<L>];
  typename G::Bits grad[kBlock<L>];
  typename S::Bits states[Rule::states > 0 ? Rule::states : 1][kBlock<L>];

  [[gnu::noinline]] Memory<P, G, S> load(const Memory<P, G, S>& at, int64_t from, int64_t to) {
    *this = {};
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
  [[gnu::noinline]] void store(const Memory<P, G, S>& at, int64_t from, int64_t to) const {
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

// What a step contains is known before its first element. The two usual kinds are compiled without the branches of what they
// lack, which are a third of their instructions: nothing random, with or without an update quantizer to nearest; and noise, every
// 16-bit tensor rounded stochastically, with or without an update quantizer. Of any kind are an observed step and one that is
// only looked at, ahead of being taken.
enum class Kind { any, plain, langevin, observed, ahead };

template <class Rule, class P, class S>
QL_HD Kind kind_of(const Scalars& s, bool noisy) {
  const Reads reads = list_reads<Rule, P, S>(s, noisy);
  constexpr bool half_param = sizeof(typename P::Bits) == 2, half_state = Rule::states > 0 && sizeof(typename S::Bits) == 2;
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
  s.corrected_param = false;
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
template <class Rule, class P, class S>
QL_HD Pass plan_pass(const Scalars& s, bool noisy, bool stores) {
  Pass pass{noisy, list_reads<Rule, P, S>(s, noisy)};
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
  const Pass pass = plan_pass<Rule, P, S>(s, noisy, stores);
  const Coordinates at{{static_cast<uint32_t>(tensor.key), static_cast<uint32_t>(tensor.key >> 32)}, row.step, row.chain};
  const int64_t first = tensor.offset + chunk.begin, last = tensor.offset + chunk.end;  // of the unsharded tensor
  Bits<L> bits;
  const NoiseLaw law{s.noise, launch.tail_indices ? launch.tail_indices[chunk.tensor] : 0.0};
  const Draws<L> draws(at, law, static_cast<uint32_t>(first / kGroup >> 32), pass.reads, bits);
  Edge<L, Rule, P, G, S> edge;
  const Watched watched{s.update_rounding != GridRounding::off || !stores, stores, noisy,
                        sizeof(typename P::Bits) == 2 && s.lr != 0.0f};
  Observation<L, observed> observation(launch, chunk, first, watched);
  for (int64_t block = first / kBlock<L> * kBlock<L>; block < last; block += kBlock<L>) {
    if (draws.any()) draw_block<L>(draws, static_cast<uint32_t>(block / kGroup), bits.noise);
    const Memory<P, G, S> memory = memory_at<Rule, P, G, S>(tensor, launch.grads[chunk.tensor], block - tensor.offset);
    const int64_t from = std::max<int64_t>(first - block, 0), to = std::min<int64_t>(last - block, kBlock<L>);
    const bool partial = to - from < kBlock<L>;
    observation.begin(block, static_cast<int>(from), static_cast<int>(to));
    step_block<stores, L, Rule>(row, pass, bits, partial ? edge.load(memory, from, to) : memory, observation);
    if (partial && stores) edge.store(memory, from, to);
    observation.end(block, last);
  }
}

template <class L, class Rule, class P, class G, class S>
void step_chunks(const Launch& launch, int64_t first, int64_t last) {
  constexpr bool usual = L::width >= 8 && std::is_same_v<P, G>;  // only these have kinds of their own: they take time to build
  for (int64_t i = first; i < last; ++i) {
    const Chunk& chunk = launch.chunks[i];
    const Scalars& s = row_at<Rule>(launch, chunk).common;
    Kind kind = usual ? kind_of<Rule, P, S>(s, is_noisy(launch, chunk, s)) : Kind::any;
    if (kind == Kind::langevin && launch.compensations != nullptr && launch.compensations[chunk.tensor] != 0.0f) kind = Kind::any;
    if (launch.observer != nullptr) kind = launch.observer->stores ? Kind::observed : Kind::ahead;
    if (kind == Kind::observed) step_chunk<Kind::observed, L, Rule, P, G, S>(launch, chunk);
    if (kind == Kind::ahead) step_chunk<Kind::ahead, L, Rule, P, G, S>(launch, chunk);
    if (kind == Kind::any) step_chunk<Kind::any, L, Rule, P, G, S>(launch, chunk);
    if constexpr (usual) {
      if (kind == Kind::plain) step_chunk<Kind::plain, L, Rule, P, G, S>(launch, chunk);
      if (kind == Kind::langevin) step_chunk<Kind::langevin, L, Rule, P, G, S>(launch, chunk);
    }
  }
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
  ((index++ == rule ? void(found = find_param<L, typename Rules::Kernel>(param, grad, state)) : void()), ...);
  return found;
}

template <class L>
Kernel find_kernel(int rule, Storage param, Storage grad, Storage state) {
  return find_rule<L>(AllRules{}, rule, param, grad, state);
}

}  // namespace ql::cpu
