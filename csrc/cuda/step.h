// One warp steps one task, row of 256 elements by row: loads and stores around core/update.h, without any barrier.
#pragma once

#include "draws.h"
#include "observe.h"

namespace ql::cuda {

// Noise that was drawn already; everything else is drawn where it is read.
template <class Draws>
struct WithNoise {
  const Draws& draws;
  Eight<float> noise;

  QL_HD Eight<float> draw_noise() const { return noise; }
  QL_HD Eight<uint32_t> draw_grad() const { return draws.draw_grad(); }
  QL_HD Eight<uint32_t> draw_update() const { return draws.draw_update(); }
  QL_HD Eight<uint32_t> draw_param() const { return draws.draw_param(); }
};

// The row of a tensor's scalars: its own, or its group's.
template <class Rule>
QL_HD Row<Rule> row_of(const Arguments& a, int32_t tensor, int32_t group) {
  if (a.rows != nullptr) return static_cast<const Row<Rule>*>(a.rows)[tensor];
  return reinterpret_cast<const Row<Rule>*>(a.inline_bytes)[group];
}

QL_HD const char* grad_of(const Arguments& a, int32_t tensor) {
  if (a.grads != nullptr) return a.grads[tensor];
  return reinterpret_cast<const char* const*>(a.inline_bytes + a.grads_at)[tensor];
}

// state: which one; -1 for the parameter.
template <class T, class Draws>
QL_HD Packed<T> pack_drawn(T type, const Eight<float>& values, bool stochastic, const Draws& draws, int state) {
  if (bytes_of(type) == 2 && stochastic) return pack(type, values, state < 0 ? draws.draw_param() : draws.draw_state(state));
  return pack(type, values);
}

// Most steps have no quantizer, no decay and no compensation. One branch to a step where the compiler knows that costs less than
// one for each of them.
QL_HD bool is_bare(const Scalars& s) {
  const bool quantizes = s.grad_rounding != GridRounding::off || s.update_rounding != GridRounding::off;
  return !quantizes && s.weight_decay == 0.0f && s.decoupled_weight_decay == 0.0f && s.compensation == 0.0f && !s.corrected_param;
}

template <class Rule, class P, class Source>
QL_HD void update_group(const Row<Rule>& row, bool bare_row, bool noisy, P stored, const Source& random,
                        Element<GroupLanes, Rule>& e) {
  if (!bare_row) return update<GroupLanes, Rule>(row, noisy, stored, random, e);
  Row<Rule> bare = row;
  bare.common.grad_rounding = bare.common.update_rounding = GridRounding::off;
  bare.common.weight_decay = bare.common.decoupled_weight_decay = bare.common.compensation = 0.0f;
  bare.common.corrected_param = false;
  update<GroupLanes, Rule>(bare, noisy, stored, random, e);
}

// A group as it was loaded.
template <class Rule, class P, class G, class S>
struct Loaded {
  Packed<P> param;
  Packed<G> grad;
  Packed<S> states[Rule::states > 0 ? Rule::states : 1];

  QL_HD Element<GroupLanes, Rule> unpacked(const StoredAs<P, G, S>& types) const {
    Element<GroupLanes, Rule> e;
    e.param = unpack(types.param, param);
    e.grad = unpack(types.grad, grad);
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k) e.states[k] = unpack(types.state, states[k]);
    return e;
  }
};

// Where the elements of a task's block lie.
template <class Rule, class P, class G, class S>
struct Memory {
  StoredAs<P, G, S> types;
  char* param;
  const char* grad;
  char* states[Rule::states > 0 ? Rule::states : 1];
  uint32_t aligned;

  QL_HD Memory(const StoredAs<P, G, S>& stored, const Reach& reach, const Tensor& tensor, const char* grad_memory)
      : types(stored) {
    param = reach.begin_of(types.param, tensor.param);
    grad = reach.begin_of(types.grad, grad_memory);
    uint32_t address = address_bits(param) | address_bits(grad);
    for (int k = 0; k < Rule::states; ++k) {
      states[k] = reach.begin_of(types.state, tensor.states[k]);
      address |= address_bits(states[k]);
    }
    aligned = move_of(address) == Move::aligned ? 1u : 0u;
  }
  QL_HD Move whole() const { return aligned != 0 ? Move::aligned : Move::shifted; }
  QL_HD Eight<float> load_grad(const Lane& lane) const {
    return unpack(types.grad, load_group(types.grad, grad + bytes_of(types.grad, lane.at), lane.move, lane.range));
  }
  QL_HD Loaded<Rule, P, G, S> load(const Lane& lane) const {
    if (lane.move == Move::aligned) return load_as(lane, Move::aligned);  // one branch for all of them
    return load_as(lane, lane.move);
  }
  // Stores what is rounded: the parameter unless lr is 0.
  QL_HD void store(const Lane& lane, bool moves, const Loaded<Rule, P, G, S>& group) const {
    if (lane.move == Move::aligned)
      store_as(lane, Move::aligned, moves, group);
    else
      store_as(lane, lane.move, moves, group);
  }

 private:
  QL_HD Loaded<Rule, P, G, S> load_as(const Lane& lane, Move move) const {
    Loaded<Rule, P, G, S> group;
    group.param = load_group(types.param, param + bytes_of(types.param, lane.at), move, lane.range);
    group.grad = load_group(types.grad, grad + bytes_of(types.grad, lane.at), move, lane.range);
    const uint32_t at = bytes_of(types.state, lane.at);
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k) group.states[k] = load_group(types.state, states[k] + at, move, lane.range);
    return group;
  }
  QL_HD void store_as(const Lane& lane, Move move, bool moves, const Loaded<Rule, P, G, S>& group) const {
    if (moves) store_group(types.param, param + bytes_of(types.param, lane.at), group.param, move, lane.range);
    const uint32_t at = bytes_of(types.state, lane.at);
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k) store_group(types.state, states[k] + at, group.states[k], move, lane.range);
  }
};

// Rounds a stepped group into what it was loaded as.
template <class Rule, class P, class G, class S, class Draws>
QL_HD void round_group(const StoredAs<P, G, S>& types, const Scalars& s, const Draws& draws, const Element<GroupLanes, Rule>& e,
                       Loaded<Rule, P, G, S>& group) {
  if (s.lr != 0.0f) group.param = pack_drawn(types.param, e.param, s.stochastic_param, draws, -1);
  QL_UNROLL
  for (int k = 0; k < Rule::states; ++k) group.states[k] = pack_drawn(types.state, e.states[k], s.stochastic_state, draws, k);
}

// The largest magnitude in a lane's block of gradients, if blocks have grids: a row has two.
template <class Memory>
QL_HD Eight<uint32_t> find_largest(const Scalars& s, const Memory& memory, const Lane& lane, int thread, Eight<float> own) {
  static_assert(kNormColumns == 2 * kGradBlock && kGradBlock == kHalfWarp * kGroup);
  if (!s.grad_blocks) return {};
  return GroupLanes::splat(largest_in_half_warp(thread, [&](int other) {
    const Eight<float> grad = other == thread ? own : memory.load_grad(lane.moved(other - thread));
    const Eight<uint32_t> patterns = pattern_of_magnitude<GroupLanes>(unscale<GroupLanes>(s, grad));
    uint32_t largest = 0;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) largest = patterns[i] > largest ? patterns[i] : largest;
    return largest;
  }));
}

// unusual: with what most steps lack and registers are scarce for: averaged noise, a corrected rounding, blocks of gradients.
// 14: the least number of its blocks for a multiprocessor; told none, ptxas spills a word to have 16 of some.
template <class Rule, class P, class G, class S, bool observed, bool unusual>
__global__ void __launch_bounds__(kWarp, unusual && !observed ? 14 : 0) step_kernel(const __grid_constant__ Arguments a) {
  using L = GroupLanes;
  if (a.found_inf != nullptr && *a.found_inf != 0.0f) return;
  const Place here = place();
  const Task task = a.tasks[here.block];
  const Tensor& tensor = a.tensors[task.tensor];
  Row<Rule> row = row_of<Rule>(a, task.tensor, tensor.group);
  if constexpr (!unusual) row.common.corrected_param = row.common.grad_blocks = false;
  const Scalars& s = row.common;
  const bool stores = !observed || a.stores;
  const bool noisy = tensor.noise != 0 && s.noise_scale > 0.0f && (stores || Rule::site == NoiseSite::velocity);
  const Reach reach(tensor, task);
  const StoredAs<P, G, S> types(a.types);
  Memory<Rule, P, G, S> memory(types, reach, tensor, grad_of(a, task.tensor));
  Draws<Rule::states == 0 && unusual> draws(
      {{static_cast<uint32_t>(tensor.key), static_cast<uint32_t>(tensor.key >> 32)}, row.step, row.chain}, s.noise,
      reach.block / kGroup);
  const bool rounded = bytes_of(types.param) == 2 && s.lr != 0.0f;
  const Watched watched{s.update_rounding != GridRounding::off || !stores, stores, noisy, rounded};
  Tally tally;
  if constexpr (observed) tally.clear();
  uint32_t thread = static_cast<uint32_t>(here.thread), bare = is_bare(s) ? 1u : 0u;
  keep(thread), keep(bare), keep(memory.aligned);  // they are cheap to make, but not in every turn

  for (int begin = reach.first / kNormColumns * kNormColumns; begin < reach.last; begin += kNormColumns) {
    const Lane lane(reach, begin, thread, memory.whole());
    Loaded<Rule, P, G, S> group = memory.load(lane);
    draws.begin(static_cast<uint32_t>(reach.block / kGroup) + static_cast<uint32_t>(begin) / kGroup + thread);
    Element<L, Rule> e = group.unpacked(types);
    if constexpr (unusual) e.largest = find_largest(s, memory, lane, here.thread, e.grad);
    const Eight<float> old = e.param;
    Eight<float> noise{};
    if constexpr (observed) {
      if (noisy) noise = draws.draw_noise();
      update_group<Rule>(row, bare != 0, noisy, types.param, WithNoise<decltype(draws)>{draws, noise}, e);
    } else {
      update_group<Rule>(row, bare != 0, noisy, types.param, draws, e);
    }
    if constexpr (observed) {
      const Eight<float> moving = moving_noise<L, Rule>(row, e, noise);
      tally.add(Moving{unscale<L>(s, e.grad), e.displacement, e.delta, moving}, watched, lane.range);
    }
    if (stores) {
      round_group(types, s, draws, e, group);
      memory.store(lane, s.lr != 0.0f, group);
    }
    if constexpr (observed) tally.add(Moved{old, e.param, unpack(types.param, group.param)}, watched, lane.range);
  }
  if constexpr (observed) tally.finish(watched, here.thread, a.statistics + here.block * Statistic::count);
}

template <class Rule, class P>
StepKernel find_state(Storage state) {
  if constexpr (Rule::states > 0) {
    if (state == Storage::bfloat16) return step_kernel<Rule, P, P, BFloat16, false, false>;
  }
  return step_kernel<Rule, P, P, Float32, false, false>;
}

template <class Rule>
StepKernel find_typed_step(StorageTypes types) {
  if (types.param == Storage::float32) return find_state<Rule, Float32>(types.state);
  if (types.param == Storage::bfloat16) return find_state<Rule, BFloat16>(types.state);
  return find_state<Rule, Float16>(types.state);
}

template <class Rule>
StepKernel find_any_step(bool observed, bool unusual) {
  if (!observed) return step_kernel<Rule, AnyStorage, AnyStorage, AnyState, false, true>;
  if (!unusual) return step_kernel<Rule, AnyStorage, AnyStorage, AnyState, true, false>;
  return step_kernel<Rule, AnyStorage, AnyStorage, AnyState, true, true>;
}

}  // namespace ql::cuda
