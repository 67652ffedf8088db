// The scalars of one step: made in binary64 from + - * / sqrt only, rounded once to binary32 (numerics.md section 1).
#pragma once

#include <cmath>

#include "normal.h"
#include "quantize.h"

namespace ql {

constexpr int kMaxRuleHypers = 8;
constexpr double kLargest = 0x1.FFFFFEp127;  // the largest binary32 number

// Hyper-parameters of a group as the user wrote them, validated by the caller; the rule's own in the order it names them.
struct Hyper {
  double lr = 0, temperature = 0, weight_decay = 0, decoupled_weight_decay = 0, grad_resolution = 0, update_resolution = 0;
  double compensation = 0;  // the length of its term over lr, for those who make the term from it
  double rule[kMaxRuleHypers] = {};
  NoiseKind noise = NoiseKind::gaussian;
  GridRounding grad_rounding = GridRounding::off, update_rounding = GridRounding::off;
  bool stochastic_param = false, stochastic_state = false, corrected_param = false, grad_blocks = false;
};

// What every rule needs of one step. Absent stages are marked by 0 or `off`, and are then skipped, not multiplied by 0.
// compensation, the only one of a tensor and not of its group, is the plan's to fill in.
struct Scalars {
  float grad_multiplier, weight_decay, lr, decoupled_weight_decay, noise_scale, compensation;
  float grad_resolution, grad_spacing, update_resolution, update_spacing;
  NoiseKind noise;
  GridRounding grad_rounding, update_rounding;
  bool stochastic_param, stochastic_state, corrected_param, grad_blocks;
};

template <class Rule>
struct Row {
  Scalars common;
  typename Rule::Scalars rule;
  uint32_t step, chain;
};

QL_HD float round_once(double value) {
  return static_cast<float>(value);
}

// base^exponent by squaring, for exponents from 0 on.
QL_HD double power(double base, int64_t exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result *= base;
    base *= base;
  }
  return result;
}

// The norm of a list from its sum of squares, rounded once to binary32.
QL_HD double norm_of(double squares) {
  return round_once(std::sqrt(squares));
}

// min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it; NaN for a NaN norm.
QL_HD double clip_coefficient(double norm, double max_norm) {
  const double coefficient = max_norm / (norm + 1e-6);
  return coefficient > 1.0 ? 1.0 : coefficient;
}

// r / h of the compensation term r = length h / ||h||, rounded once; 0 for h = 0, and without a term whatever h is. At most the
// largest binary32 number, so that the term of a vanishing displacement is never Inf.
QL_HD float compensation_factor(double length, double norm) {
  if (norm == 0.0 || length == 0.0) return 0.0f;
  const double factor = length / norm;
  return round_once(factor > kLargest ? kLargest : factor);
}

QL_HD GridRounding effective_rounding(GridRounding rounding, double resolution) {
  return std::isinf(resolution) ? GridRounding::off : rounding;  // an infinite resolution is the identity
}

// grad_multiplier: sign (maximize) * clip coefficient / grad_scale. step: 1 for the first step taken.
template <class Rule>
QL_HD Row<typename Rule::Kernel> make_row(const Hyper& h, double grad_multiplier, int64_t step, uint32_t chain) {
  Row<typename Rule::Kernel> row{};
  Scalars& s = row.common;
  s.grad_multiplier = round_once(grad_multiplier);
  s.weight_decay = round_once(h.weight_decay);
  s.lr = round_once(h.lr);
  s.decoupled_weight_decay = round_once(h.lr * h.decoupled_weight_decay);
  const bool noisy = s.lr > 0 && h.temperature > 0;  // at lr = 0 nothing moves, and the velocity's noise would be infinite
  s.noise_scale = noisy ? round_once(std::sqrt(Rule::noise_variance(h, step))) : 0.0f;
  s.noise = h.noise;
  s.grad_rounding = effective_rounding(h.grad_rounding, h.grad_resolution);
  s.grad_resolution = round_once(h.grad_resolution);
  s.grad_spacing = round_once(1.0 / h.grad_resolution);
  s.update_rounding = effective_rounding(h.update_rounding, h.update_resolution);
  s.update_resolution = round_once(h.update_resolution);
  s.update_spacing = round_once(1.0 / h.update_resolution);
  s.stochastic_param = h.stochastic_param;
  s.stochastic_state = h.stochastic_state;
  s.corrected_param = h.corrected_param;
  s.grad_blocks = h.grad_blocks;
  row.rule = Rule::prepare(h, step);
  row.step = static_cast<uint32_t>(step);
  row.chain = chain;
  return row;
}

}  // namespace ql
