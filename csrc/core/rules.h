// One small struct per update rule. A rule is
//
//   name, hypers, states    what Python calls it, its hyper-parameters and its state tensors, in order
//   site                    where its noise goes: into its velocity (remembered) or onto the displacement
//   noise_variance(h)       its row of the thermostat: the variance added per step such that the chain samples exp(-U / T)
//   prepare(h, step)        its scalars of one step
//   accumulate(s, g, x)     states x updated from the gradient g; noise of a velocity rule is added to x[0] right after
//   displace(s, g, x)       the displacement -lr * (...)
//   finish(s, delta, x)     what must see the final displacement
//
// Kernel names the rule whose element functions and scalars it has: kernels are compiled once for all rules that share them.
// The same names in the same order stand in qlangevin/reference_rules.py and triton_kernels/rules.py; a test compares them.
#pragma once

#include "scalars.h"

namespace ql {

enum class NoiseSite { velocity, displacement };

struct Plain {
  using Kernel = Plain;
  static constexpr const char* name = "plain";
  static constexpr int hypers = 0;
  static constexpr int states = 0;
  static constexpr NoiseSite site = NoiseSite::displacement;
  struct Scalars {
    float displacement_factor;
  };

  static QL_HD double noise_variance(const Hyper& h) { return 2.0 * h.lr * h.temperature; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t) { return {-round_once(h.lr)}; }

  template <class L>
  static QL_HD void accumulate(const Scalars&, typename L::F, typename L::F*) {}

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F g, const typename L::F*) {
    return g * s.displacement_factor;
  }

  template <class L>
  static QL_HD void finish(const Scalars&, typename L::F, typename L::F*) {}
};

// torch.optim.SGD's momentum: the velocity does not include lr, and the first gradient enters undamped.
struct Momentum {
  using Kernel = Momentum;
  static constexpr const char* name = "momentum";
  static constexpr int hypers = 3;  // momentum, dampening, nesterov
  static constexpr int states = 1;  // momentum_buffer
  static constexpr NoiseSite site = NoiseSite::velocity;
  struct Scalars {
    float momentum, grad_factor, displacement_factor;  // the last of them times the velocity is the displacement
    bool nesterov;
  };

  // 2 (1 - momentum) lr T for the displacement -lr * velocity, so that over lr^2 for the velocity.
  static QL_HD double noise_variance(const Hyper& h) { return 2.0 * (1.0 - h.rule[0]) * h.temperature / h.lr; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t step) {
    return {round_once(h.rule[0]), step == 1 ? 1.0f : round_once(1.0 - h.rule[1]), -round_once(h.lr), h.rule[2] != 0.0};
  }

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    x[0] = x[0] * s.momentum + g * s.grad_factor;
  }

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F g, const typename L::F* x) {
    if (s.nesterov) return (g + x[0] * s.momentum) * s.displacement_factor;
    return x[0] * s.displacement_factor;
  }

  template <class L>
  static QL_HD void finish(const Scalars&, typename L::F, typename L::F*) {}
};

// CoolMomentum's: the velocity, minus the displacement, includes lr; its limit of stability, lr * curvature < 4, is the same for
// every momentum. Borysenko and Byshkin, Sci. Rep. 11:10705 (2021).
struct CoolMomentum : Momentum {
  static constexpr const char* name = "cool_momentum";
  static constexpr int hypers = 1;  // momentum

  static QL_HD double noise_variance(const Hyper& h) { return h.lr * h.temperature * (1.0 - h.rule[0] * h.rule[0]); }

  static QL_HD Scalars prepare(const Hyper& h, int64_t) {
    return {round_once(h.rule[0]), round_once(h.lr * (1.0 + h.rule[0]) / 2.0), -1.0f, false};
  }
};

template <class... Rules>
struct RuleList {};

using AllRules = RuleList<Plain, Momentum, CoolMomentum>;

}  // namespace ql
