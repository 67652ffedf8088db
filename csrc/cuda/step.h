// One warp steps one task, row of 256 elements by row: loads and stores around core/update.h, without any barrier.
#pragma once

#include "observe.h"

namespace ql::cuda {

// The draws of one group, each made where it is read.
class Draws {
 public:
  QL_HD Draws(Coordinates at, NoiseKind kind) : keys_(at.key), at_(at), kind_(kind), group_high_(0) {
    QL_UNROLL
    for (int round = 2; round < kPhiloxRounds; ++round) keep(keys_.k0[round]), keep(keys_.k1[round]);
  }

  QL_HD void begin(int64_t group) {
    group_high_ = static_cast<uint32_t>(group >> 32);
    group_[0] = group_part<ScalarLanes>(keys_, at_, static_cast<uint32_t>(group));
  }
  QL_HD Eight<uint32_t> draw_grad() const { return halves(Purpose::grad_quantizer); }
  QL_HD Eight<uint32_t> draw_update() const { return halves(Purpose::update_quantizer); }
  QL_HD Eight<uint32_t> draw_param() const { return halves(Purpose::param_rounding); }
  QL_HD Eight<uint32_t> draw_state(int k) const { return halves(Purpose::state_rounding + static_cast<uint32_t>(k)); }
  QL_HD Eight<float> draw_noise() const {
    if (kind_ == NoiseKind::gaussian) return gaussian<GroupLanes>(words());
    return noise_value<GroupLanes>(kind_, halves(Purpose::noise));
  }

 private:
  QL_HD Eight<uint32_t> halves(uint32_t purpose) const {
    uint32_t c[1][4];
    draw<ScalarLanes, 1, 1>(keys_, group_, {purpose_part(at_, group_high_, purpose)}, c);
    Eight<uint32_t> result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = i % 2 == 0 ? c[0][i / 2] & 0xFFFFu : c[0][i / 2] >> 16;
    return result;
  }
  QL_HD Eight<uint32_t> words() const {
    uint32_t c[2][4];
    draw<ScalarLanes, 2, 1>(
        keys_, group_, {purpose_part(at_, group_high_, Purpose::noise), purpose_part(at_, group_high_, Purpose::noise + 1)}, c);
    Eight<uint32_t> result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = c[i / 4][i % 4];
    return result;
  }

  RoundKeys<ScalarLanes> keys_;
  Coordinates at_;
  NoiseKind kind_;
  uint32_t group_high_;
  GroupPart<ScalarLanes> group_[1];
};

// Noise that was drawn already; everything else is drawn where it is read.
struct WithNoise {
  const Draws& draws;
  Eight<float> noise;

  QL_HD Eight<float> draw_noise() const { return noise; }
  QL_HD Eight<uint32_t> draw_grad() const { return draws.draw_grad(); }
  QL_HD Eight<uint32_t> draw_update() const { return draws.draw_update(); }
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

template <class T>
QL_HD Packed<T> pack_drawn(const Eight<float>& values, bool stochastic, const Draws& draws, int state) {
  constexpr bool half_width = sizeof(typename T::Bits) == 2;
  if constexpr (half_width) {
    if (stochastic) return pack<T>(values, true, state < 0 ? draws.draw_param() : draws.draw_state(state));
  }
  return pack<T>(values, false, Eight<uint32_t>{});
}

// A group as it was loaded.
template <class Rule, class P, class G, class S>
struct Loaded {
  Packed<P> param;
  Packed<G> grad;
  Packed<S> states[Rule::states > 0 ? Rule::states : 1];

  QL_HD Element<GroupLanes, Rule> unpacked() const {
    Element<GroupLanes, Rule> e;
    e.param = unpack<P>(param);
    e.grad = unpack<G>(grad);
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k) e.states[k] = unpack<S>(states[k]);
    return e;
  }
};

// Where the elements of a task's block lie.
template <class Rule, class P, class G, class S>
struct Memory {
  char* param;
  const char* grad;
  char* states[Rule::states > 0 ? Rule::states : 1];
  Move whole;

  QL_HD Memory(const Reach& reach, const Tensor& tensor, const char* grad_memory) {
    param = reach.begin_of<P>(tensor.param);
    grad = reach.begin_of<G>(grad_memory);
    uint32_t address = address_bits(param) | address_bits(grad);
    for (int k = 0; k < Rule::states; ++k) {
      states[k] = reach.begin_of<S>(tensor.states[k]);
      address |= address_bits(states[k]);
    }
    whole = move_of(address);
  }
  QL_HD Loaded<Rule, P, G, S> load(const Lane& lane) const {
    Loaded<Rule, P, G, S> group;
    group.param = load_group<P>(param + bytes_of<P>(lane.at), lane.move, lane.range);
    group.grad = load_group<G>(grad + bytes_of<G>(lane.at), lane.move, lane.range);
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k)
      group.states[k] = load_group<S>(states[k] + bytes_of<S>(lane.at), lane.move, lane.range);
    return group;
  }
  // Rounds and stores; returns the parameter as it lies there then.
  QL_HD Packed<P> store(const Lane& lane, const Scalars& s, const Element<GroupLanes, Rule>& e, const Draws& draws,
                        const Packed<P>& before) const {
    Packed<P> stored = before;
    if (s.lr != 0.0f) {
      stored = pack_drawn<P>(e.param, s.stochastic_param, draws, -1);
      store_group<P>(param + bytes_of<P>(lane.at), stored, lane.move, lane.range);
    }
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k) {
      const Packed<S> state = pack_drawn<S>(e.states[k], s.stochastic_state, draws, k);
      store_group<S>(states[k] + bytes_of<S>(lane.at), state, lane.move, lane.range);
    }
    return stored;
  }
};

template <class Rule, class P, class G, class S, bool observed>
__global__ void __launch_bounds__(kWarp) step_kernel(const __grid_constant__ Arguments a) {
  using L = GroupLanes;
  if (a.found_inf != nullptr && *a.found_inf != 0.0f) return;
  const Place here = place();
  const Task task = a.tasks[here.block];
  const Tensor& tensor = a.tensors[task.tensor];
  const Row<Rule> row = row_of<Rule>(a, task.tensor, tensor.group);
  const Scalars& s = row.common;
  const bool stores = !observed || a.stores;
  const bool noisy = tensor.noise != 0 && s.noise_scale > 0.0f && (stores || Rule::site == NoiseSite::velocity);
  const Reach reach(tensor, task);
  const Memory<Rule, P, G, S> memory(reach, tensor, grad_of(a, task.tensor));
  Draws draws({{static_cast<uint32_t>(tensor.key), static_cast<uint32_t>(tensor.key >> 32)}, row.step, row.chain}, s.noise);
  const bool rounded = sizeof(typename P::Bits) == 2 && s.lr != 0.0f;
  const Watched watched{s.update_rounding != GridRounding::off || !stores, stores, noisy, rounded};
  Tally tally;
  if constexpr (observed) tally.clear();

  for (int begin = reach.first / kNormColumns * kNormColumns; begin < reach.last; begin += kNormColumns) {
    const Lane lane(reach, begin, here.thread, memory.whole);
    const Loaded<Rule, P, G, S> group = memory.load(lane);
    draws.begin((reach.block + lane.at) / kGroup);
    Element<L, Rule> e = group.unpacked();
    if constexpr (!observed) {
      update<L, Rule>(row, noisy, draws, e);
      memory.store(lane, s, e, draws, group.param);
    } else {
      Eight<float> noise{};
      if (noisy) noise = draws.draw_noise();
      update<L, Rule>(row, noisy, WithNoise{draws, noise}, e);
      const Packed<P> stored = stores ? memory.store(lane, s, e, draws, group.param) : group.param;
      const Trace trace{unscale<L>(s, e.grad),  e.displacement, e.delta,          moving_noise<L, Rule>(row, noise),
                        unpack<P>(group.param), e.param,        unpack<P>(stored)};
      tally.add(trace, watched, lane.range);
    }
  }
  if constexpr (observed) tally.finish(watched, here.thread, a.statistics + here.block * Statistic::count);
}

template <class Rule, class P, class G>
StepKernel find_state(Storage state, bool observed) {
  if (Rule::states == 0 || state == Storage::float32)
    return observed ? step_kernel<Rule, P, G, Float32, true> : step_kernel<Rule, P, G, Float32, false>;
  if constexpr (Rule::states > 0) {
    if (state == Storage::bfloat16)
      return observed ? step_kernel<Rule, P, G, BFloat16, true> : step_kernel<Rule, P, G, BFloat16, false>;
  }
  return nullptr;
}

template <class Rule, class P>
StepKernel find_grad(Storage grad, Storage state, bool observed) {
  if (grad == Storage::float32) return find_state<Rule, P, Float32>(state, observed);
  if (grad == Storage::bfloat16) return find_state<Rule, P, BFloat16>(state, observed);
  return find_state<Rule, P, Float16>(state, observed);
}

}  // namespace ql::cuda
