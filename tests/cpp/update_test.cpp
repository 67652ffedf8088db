// The scalars of a step and the functor on steps worked by hand; everything here is exact in binary32.
#include "../../csrc/core/update.h"

#include <cmath>

#include "check.h"

namespace ql {
namespace {

Hyper plain_hyper() {
  Hyper h;
  h.lr = 0.125;
  h.grad_resolution = h.update_resolution = HUGE_VAL;
  return h;
}

template <class Rule>
float step_param(const Hyper& h, bool noisy, float param, float grad, float* state = nullptr, Random<ScalarLanes> random = {}) {
  Element<ScalarLanes, Rule> e{};
  e.param = param;
  e.grad = grad;
  if (state != nullptr) e.states[0] = *state;
  update<ScalarLanes, Rule>(make_row<Rule>(h, 1.0, 2, 0), noisy, Float32{}, random, e);
  if (state != nullptr) *state = e.states[0];
  return e.param;
}

TEST(scalars_are_made_in_binary64_and_rounded_once) {
  Hyper h = plain_hyper();
  h.lr = 0.1;
  h.temperature = 0.3;
  h.decoupled_weight_decay = 0.7;
  h.update_resolution = 100.0;
  h.update_rounding = GridRounding::nearest;
  const Row<Plain> row = make_row<Plain>(h, -1.0, 5, 9);
  CHECK_EQUAL(row.common.lr, 0.1f);
  CHECK_EQUAL(row.common.decoupled_weight_decay, static_cast<float>(0.1 * 0.7));
  CHECK_EQUAL(row.common.noise_scale, static_cast<float>(std::sqrt(2.0 * 0.1 * 0.3)));
  CHECK_EQUAL(row.common.update_spacing, static_cast<float>(0.01));
  CHECK_EQUAL(row.common.grad_multiplier, -1.0f);
  CHECK_EQUAL(row.step, 5u);
  CHECK_EQUAL(row.chain, 9u);
  h.rule[0] = 0.9;
  CHECK_EQUAL(make_row<Momentum>(h, 1.0, 5, 9).common.noise_scale, static_cast<float>(std::sqrt(2.0 * (1.0 - 0.9) * 0.3 / 0.1)));
}

TEST(no_lr_no_temperature_and_infinite_resolution_switch_stages_off) {
  Hyper h = plain_hyper();
  h.temperature = 1.0;
  CHECK(make_row<Plain>(h, 1.0, 1, 0).common.noise_scale > 0.0f);
  h.lr = 0.0;
  CHECK_EQUAL(make_row<Plain>(h, 1.0, 1, 0).common.noise_scale, 0.0f);
  CHECK_EQUAL(make_row<Momentum>(h, 1.0, 1, 0).common.noise_scale, 0.0f);
  h.grad_rounding = h.update_rounding = GridRounding::stochastic;
  const Scalars s = make_row<Plain>(h, 1.0, 1, 0).common;
  CHECK(s.grad_rounding == GridRounding::off && s.update_rounding == GridRounding::off);
}

TEST(the_first_momentum_step_is_undamped) {
  Hyper h = plain_hyper();
  h.rule[0] = 0.5;
  h.rule[1] = 0.25;
  CHECK_EQUAL(make_row<Momentum>(h, 1.0, 1, 0).rule.grad_factor, 1.0f);
  CHECK_EQUAL(make_row<Momentum>(h, 1.0, 2, 0).rule.grad_factor, 0.75f);
}

TEST(a_plain_step_by_hand) {
  Hyper h = plain_hyper();
  CHECK_EQUAL(step_param<Plain>(h, false, 1.0f, 0.5f), 0.9375f);  // 1 - 0.5 / 8
  h.weight_decay = 0.5;
  CHECK_EQUAL(step_param<Plain>(h, false, 1.0f, 0.5f), 0.875f);  // 1 - (0.5 + 0.5) / 8
  h.decoupled_weight_decay = 2.0;
  CHECK_EQUAL(step_param<Plain>(h, false, 1.0f, 0.5f), 0.625f);  // 1 - 1 / 4 - (0.5 + 0.5) / 8
  h.update_rounding = GridRounding::nearest;
  h.update_resolution = 2.0;
  CHECK_EQUAL(step_param<Plain>(h, false, 1.0f, 0.5f), 0.75f);  // -1 / 8 is nearest to 0
  h.grad_rounding = GridRounding::nearest;
  h.grad_resolution = 0.25;
  CHECK_EQUAL(step_param<Plain>(h, false, 1.0f, 6.0f), -0.25f);  // 6 -> 8; -(8 + 0.5) / 8 -> -1; 1 - 1 / 4 - 1
}

TEST(plain_noise_is_added_after_the_update_quantizer) {
  Hyper h = plain_hyper();
  h.temperature = 0.25;  // 2 lr T = 1 / 16
  h.noise = NoiseKind::rademacher;
  h.update_rounding = GridRounding::nearest;
  h.update_resolution = 1.0;
  Random<ScalarLanes> random{};
  random.noise = 1.0f;
  CHECK_EQUAL(step_param<Plain>(h, true, 1.0f, 0.5f, nullptr, random), 1.25f);
  random.noise = -1.0f;
  CHECK_EQUAL(step_param<Plain>(h, true, 1.0f, 0.5f, nullptr, random), 0.75f);
  CHECK_EQUAL(step_param<Plain>(h, false, 1.0f, 0.5f, nullptr, random), 1.0f);
}

TEST(momentum_noise_goes_into_the_velocity_before_the_update_quantizer) {
  Hyper h = plain_hyper();
  h.rule[0] = 0.5;
  h.temperature = 0.5;  // 2 (1 - 0.5) T / lr = 4
  h.noise = NoiseKind::rademacher;
  Random<ScalarLanes> random{};
  random.noise = 1.0f;
  float velocity = 1.0f;
  CHECK_EQUAL(step_param<Momentum>(h, true, 1.0f, 0.5f, &velocity, random), 0.625f);  // velocity 0.5 + 0.5 + 2
  CHECK_EQUAL(velocity, 3.0f);
  h.rule[2] = 1.0;
  velocity = 1.0f;
  CHECK_EQUAL(step_param<Momentum>(h, true, 1.0f, 0.5f, &velocity, random), 0.75f);  // Nesterov: 0.5 + 0.5 * 3
  h.update_rounding = GridRounding::nearest;
  h.update_resolution = 1.0;
  velocity = 1.0f;
  CHECK_EQUAL(step_param<Momentum>(h, true, 1.0f, 0.5f, &velocity, random), 1.0f);
  CHECK_EQUAL(velocity, 3.0f);  // the velocity keeps what the quantizer dropped
}

TEST(a_negative_variance_gives_way_to_the_second_moment) {
  const float states[3][2] = {{5.0f, 2.0f}, {4.0f, 2.0f}, {3.0f, 2.0f}};
  CHECK_EQUAL(RMSpropCentered::variance<ScalarLanes>(states[0]), 1.0f);
  CHECK_EQUAL(RMSpropCentered::variance<ScalarLanes>(states[1]), 0.0f);
  CHECK_EQUAL(RMSpropCentered::variance<ScalarLanes>(states[2]), 3.0f);
}

}  // namespace
}  // namespace ql
