// One warp steps one task, row of 256 elements by row: loads and stores around core/update.h, without any barrier.
#pragma once

#include "kernel.h"
#include "memory.h"

namespace ql::cuda {

// The draws of one group.
struct Draws {
  RoundKeys<ScalarLanes> keys;
  Coordinates at;
  uint32_t group_high;
  GroupPart<ScalarLanes> group[1];

  NoiseKind kind;

  QL_HD Draws(Coordinates coordinates, NoiseKind noise) : keys(coordinates.key), at(coordinates), group_high(0), kind(noise) {
    QL_UNROLL
    for (int round = 2; round < kPhiloxRounds; ++round) keep(keys.k0[round]), keep(keys.k1[round]);
  }

  QL_HD void begin(int64_t index) {
    group_high = static_cast<uint32_t>(index >> 32);
    group[0] = group_part<ScalarLanes>(keys, at, static_cast<uint32_t>(index));
  }
  QL_HD Eight<uint32_t> halves(uint32_t purpose) const {
    uint32_t c[1][4];
    draw<ScalarLanes, 1, 1>(keys, group, {purpose_part(at, group_high, purpose)}, c);
    Eight<uint32_t> result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = i % 2 == 0 ? c[0][i / 2] & 0xFFFFu : c[0][i / 2] >> 16;
    return result;
  }
  QL_HD Eight<uint32_t> words() const {
    uint32_t c[2][4];
    draw<ScalarLanes, 2, 1>(keys, group,
                            {purpose_part(at, group_high, Purpose::noise), purpose_part(at, group_high, Purpose::noise + 1)}, c);
    Eight<uint32_t> result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = c[i / 4][i % 4];
    return result;
  }
  QL_HD Eight<uint32_t> draw_grad() const { return halves(Purpose::grad_quantizer); }
  QL_HD Eight<uint32_t> draw_update() const { return halves(Purpose::update_quantizer); }
  QL_HD Eight<float> draw_noise() const {
    if (kind == NoiseKind::gaussian) return gaussian<GroupLanes>(words());
    return noise_value<GroupLanes>(kind, halves(Purpose::noise));
  }
};

template <class Rule, class P, class G, class S, bool observed>
__global__ void __launch_bounds__(kWarp) step_kernel(const __grid_constant__ Arguments a) {
  using L = GroupLanes;
  const Place here = place();
  if (a.skip != nullptr && *a.skip != 0) return;
  const Task task = a.tasks[here.block];
  const Tensor& tensor = a.tensors[task.tensor];
  const Row<Rule> row = a.rows != nullptr ? static_cast<const Row<Rule>*>(a.rows)[task.tensor]
                                          : reinterpret_cast<const Row<Rule>*>(a.inline_bytes)[tensor.group];
  const char* const* grads = a.grads != nullptr ? a.grads : reinterpret_cast<const char* const*>(a.inline_bytes + a.grads_at);
  const Scalars& s = row.common;
  const bool noisy = tensor.noise != 0 && s.noise_scale > 0.0f;
  const int64_t offset = tensor.offset, size = tensor.size;
  const int64_t block = (offset / kNormBlock + task.block) * kNormBlock;  // where it begins in the unsharded tensor
  const int64_t here_first = block - offset;                              // the same, from the tensor's first element here
  char* param = tensor.param + here_first * static_cast<int64_t>(sizeof(typename P::Bits));
  const char* grad = grads[task.tensor] + here_first * static_cast<int64_t>(sizeof(typename G::Bits));
  char* states[Rule::states > 0 ? Rule::states : 1];
  uint32_t misaligned = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(param) | reinterpret_cast<uintptr_t>(grad));
  for (int k = 0; k < Rule::states; ++k) {
    states[k] = tensor.states[k] + here_first * static_cast<int64_t>(sizeof(typename S::Bits));
    misaligned |= static_cast<uint32_t>(reinterpret_cast<uintptr_t>(states[k]));
  }
  const Move whole = (misaligned & 15u) == 0 ? Move::aligned : Move::shifted;
  const int64_t from = here_first < 0 ? -here_first : 0;
  const int64_t to = size - here_first < kNormBlock ? size - here_first : kNormBlock;
  const int first = static_cast<int>(from), last = static_cast<int>(to);  // of the block
  Draws draws_of({{static_cast<uint32_t>(tensor.key), static_cast<uint32_t>(tensor.key >> 32)}, row.step, row.chain}, s.noise);

  for (int begin = first / kNormColumns * kNormColumns; begin < last; begin += kNormColumns) {
    const int at = begin + here.thread * kGroup;
    const Move move = begin >= first && begin + kNormColumns <= last ? whole : Move::partial;
    const Range range{first - at, last - at};
    const Packed<P> packed_param = load_group<P>(param + at * static_cast<int>(sizeof(typename P::Bits)), move, range);
    const Packed<G> packed_grad = load_group<G>(grad + at * static_cast<int>(sizeof(typename G::Bits)), move, range);
    Packed<S> packed_states[Rule::states > 0 ? Rule::states : 1];
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k)
      packed_states[k] = load_group<S>(states[k] + at * static_cast<int>(sizeof(typename S::Bits)), move, range);
    draws_of.begin((block + at) / kGroup);
    Element<L, Rule> e;
    e.param = unpack<P>(packed_param);
    e.grad = unpack<G>(packed_grad);
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k) e.states[k] = unpack<S>(packed_states[k]);
    update<L, Rule>(row, noisy, draws_of, e);
    if (s.lr != 0.0f) {
      Eight<uint32_t> half{};
      const bool stochastic = sizeof(typename P::Bits) == 2 && s.stochastic_param;
      if (stochastic) half = draws_of.halves(Purpose::param_rounding);
      store_group<P>(param + at * static_cast<int>(sizeof(typename P::Bits)), pack<P>(e.param, stochastic, half), move, range);
    }
    QL_UNROLL
    for (int k = 0; k < Rule::states; ++k) {
      Eight<uint32_t> half{};
      const bool stochastic = sizeof(typename S::Bits) == 2 && s.stochastic_state;
      if (stochastic) half = draws_of.halves(Purpose::state_rounding + static_cast<uint32_t>(k));
      store_group<S>(states[k] + at * static_cast<int>(sizeof(typename S::Bits)), pack<S>(e.states[k], stochastic, half), move,
                     range);
    }
  }
}

}  // namespace ql::cuda
