// What a thread's group of elements draws.
#pragma once

#include "../core/draw.h"
#include "task.h"

namespace ql::cuda {

// The draws of one group, each made where it is read. averaged: whether the kernel's rule has an integrator that averages noise.
template <bool averaged>
class Draws {
 public:
  // All groups of a task have the same high bits: its block begins at a multiple of a power of two.
  QL_HD Draws(Coordinates at, NoiseKind kind, int64_t first_group)
      : keys_(at.key),
        at_(at),
        kind_(kind),
        group_high_(static_cast<uint32_t>(first_group >> 32)),
        base_(purpose_base(at, group_high_)),
        begun_(base_) {
    QL_UNROLL
    for (int round = 2; round < kPhiloxRounds; ++round) keep(keys_.k0[round]), keep(keys_.k1[round]);
  }

  QL_HD void begin(uint32_t group_low) {
    group_low_ = group_low;
    group_[0] = group_part<ScalarLanes>(keys_, at_, group_low);
    begun_ = base_;
    keep(begun_);  // else what each purpose makes of it would fill registers through the whole loop
  }
  QL_HD Eight<uint32_t> draw_grad() const { return halves(Purpose::grad_quantizer); }
  QL_HD Eight<uint32_t> draw_update() const { return halves(Purpose::update_quantizer); }
  QL_HD Eight<uint32_t> draw_param() const { return halves(Purpose::param_rounding); }
  QL_HD Eight<uint32_t> draw_state(int k) const { return halves(Purpose::state_rounding + static_cast<uint32_t>(k)); }
  QL_HD Eight<float> draw_noise() const {
    if constexpr (averaged) {
      const Eight<float> now = draw_law(law_of(kind_));
      if (!averages(kind_)) return now;
      Draws next = *this;
      next.at_ = at_.next();
      next.group_[0] = group_part<ScalarLanes>(keys_, next.at_, group_low_);
      next.begun_ = purpose_base(next.at_, group_high_);
      return average<GroupLanes>(now, next.draw_law(law_of(kind_)));
    } else {
      return draw_law(kind_);
    }
  }

 private:
  QL_HD Eight<float> draw_law(NoiseKind law) const {
    if (law == NoiseKind::gaussian) return gaussian<GroupLanes>(words());
    return noise_value<GroupLanes>(law, halves(Purpose::noise));
  }
  QL_HD PurposePart part_of(uint32_t purpose) const { return purpose_part(begun_, at_.key, purpose); }
  QL_HD Eight<uint32_t> halves(uint32_t purpose) const {
    uint32_t c[1][4];
    draw<ScalarLanes, 1, 1>(keys_, group_, {part_of(purpose)}, c);
    Eight<uint32_t> result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = i % 2 == 0 ? c[0][i / 2] & 0xFFFFu : c[0][i / 2] >> 16;
    return result;
  }
  QL_HD Eight<uint32_t> words() const {
    uint32_t c[2][4];
    draw<ScalarLanes, 2, 1>(keys_, group_, {part_of(Purpose::noise), part_of(Purpose::noise + 1)}, c);
    Eight<uint32_t> result;
    QL_UNROLL
    for (int i = 0; i < kGroup; ++i) result[i] = c[i / 4][i % 4];
    return result;
  }

  RoundKeys<ScalarLanes> keys_;
  Coordinates at_;
  NoiseKind kind_;
  uint32_t group_high_, base_, begun_, group_low_ = 0;
  GroupPart<ScalarLanes> group_[1];
};

}  // namespace ql::cuda
