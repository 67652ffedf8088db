// THE functor: the step of one element (of one lane value), every stage once, in the order of docs/architecture.md, "The step".
// CPU and CUDA call it; qlangevin/reference.py and triton_kernels/update.py mirror it.
#pragma once

#include "correct.h"
#include "draw.h"
#include "normal.h"
#include "quantize.h"
#include "round.h"
#include "rules.h"

namespace ql {

constexpr int kMaxStates = 4;

// What is random for one lane value: the noise, of variance 1, and 16 bits a lane for every rounding. update() asks for it
// through the functions, so that a machine whose branches are cheap draws only where it is read.
template <class L>
struct Random {
  typename L::F noise;
  typename L::U param, grad, update, state[kMaxStates];

  QL_HD typename L::F draw_noise() const { return noise; }
  QL_HD typename L::U draw_grad() const { return grad; }
  QL_HD typename L::U draw_update() const { return update; }
  QL_HD typename L::U draw_param() const { return param; }
};

// largest: the pattern of the largest magnitude among the gradients of its block, where each block has a grid of its own; root:
// sqrt(P) of the preconditioner; displacement: the rule's, before it is quantized; delta: after that, without the noise that is
// added to it.
template <class L, class Rule>
struct Element {
  typename L::U largest;
  typename L::F param, grad, states[Rule::states > 0 ? Rule::states : 1], root, displacement, delta;
};

template <class L>
QL_HD typename L::F unscale(const Scalars& s, typename L::F g) {
  return g * s.grad_multiplier;
}

template <class L, class Half>
QL_HD typename L::F quantize_grad(const Scalars& s, typename L::F g, typename L::U largest, const Half& half) {
  if (s.grad_rounding == GridRounding::off) return g;
  if (s.grad_blocks) return quantize_block<L>(g, s.grad_rounding, s.grad_spacing, largest, half);
  return quantize<L>(g, s.grad_rounding, s.grad_resolution, s.grad_spacing, half);
}

template <class L>
QL_HD typename L::F add_weight_decay(const Scalars& s, typename L::F g, typename L::F param) {
  if (s.weight_decay == 0.0f) return g;
  return g + param * s.weight_decay;
}

template <class L>
QL_HD typename L::F compensate(const Scalars& s, typename L::F delta) {
  if (s.compensation == 0.0f) return delta;
  return delta + delta * s.compensation;
}

template <class L, class Half>
QL_HD typename L::F quantize_update(const Scalars& s, typename L::F delta, const Half& half) {
  if (s.update_rounding == GridRounding::off) return delta;
  return quantize<L>(delta, s.update_rounding, s.update_resolution, s.update_spacing, half);
}

// What the noise of an element is multiplied with besides its scale: sqrt(P). Where the second moment is 0, in rows and units
// that no gradient has reached, there is none: P is 1 / eps there.
template <class L, class Rule>
QL_HD typename L::F root_of_noise(const Element<L, Rule>& e) {
  if constexpr (Rule::second_moment < 0) return e.root;  // 1
  return L::select(e.states[Rule::second_moment < 0 ? 0 : Rule::second_moment] == 0.0f, L::float_of(L::splat(0u)), e.root);
}

// Noise in the unit of its site.
template <class L, class Rule>
QL_HD typename L::F scaled_noise(const Scalars& s, const Element<L, Rule>& e, typename L::F noise) {
  noise = noise * s.noise_scale;
  if constexpr (Rule::second_moment >= 0) noise = noise * root_of_noise<L, Rule>(e);
  return noise;
}

// The noise as it moves the parameter in this step.
template <class L, class Rule>
QL_HD typename L::F moving_noise(const Row<Rule>& row, const Element<L, Rule>& e, typename L::F noise) {
  noise = scaled_noise<L, Rule>(row.common, e, noise);
  if constexpr (Rule::site == NoiseSite::velocity) noise = noise * row.rule.displacement_factor;
  return noise;
}

template <class L>
QL_HD typename L::F move_param(const Scalars& s, typename L::F param, typename L::F delta) {
  if (s.decoupled_weight_decay != 0.0f) param = param - param * s.decoupled_weight_decay;
  return param + delta;
}

// noisy: the tensor takes noise and noise_scale > 0. stored: what the parameter is stored as. The new values are binary32;
// rounding to storage is round.h's.
template <class L, class Rule, class P, class Source>
QL_HD void update(const Row<Rule>& row, bool noisy, P stored, const Source& random, Element<L, Rule>& e) {
  using F = typename L::F;
  const Scalars& s = row.common;
  F g = unscale<L>(s, e.grad);
  g = quantize_grad<L>(s, g, e.largest, [&] { return random.draw_grad(); });
  g = add_weight_decay<L>(s, g, e.param);
  Rule::template accumulate<L>(row.rule, g, e.states);
  e.root = Rule::template precondition<L>(row.rule, e.states);
  if (Rule::site == NoiseSite::velocity && noisy) e.states[0] = e.states[0] + scaled_noise<L, Rule>(s, e, random.draw_noise());
  F delta = Rule::template displace<L>(row.rule, g, e.root, e.states);
  delta = compensate<L>(s, delta);
  e.displacement = delta;
  delta = quantize_update<L>(s, delta, [&] { return random.draw_update(); });
  e.delta = delta;
  const bool onto_delta = Rule::site == NoiseSite::displacement && noisy;
  if (onto_delta && !s.corrected_param) delta = delta + scaled_noise<L, Rule>(s, e, random.draw_noise());
  e.param = move_param<L>(s, e.param, delta);
  if (onto_delta && s.corrected_param) {
    const F mean = e.param, deviation = root_of_noise<L, Rule>(e) * s.noise_scale;
    e.param = correct<L>(stored, mean, deviation, random.draw_noise(), random.draw_param());
    delta = delta + (e.param - mean);
  }
  Rule::template finish<L>(row.rule, delta, e.states);
}

}  // namespace ql
