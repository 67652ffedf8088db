// One small struct per update rule. A rule is
//
//   name, hypers, states    what Python calls it, its hyper-parameters and its state tensors, in order
//   site                    where its noise goes: into its velocity (remembered) or onto the displacement
//   noise_variance(h)       its row of the thermostat: the variance added per step such that the chain samples exp(-U / T)
//   prepare(h, step)        its scalars of one step
//   accumulate(s, g, x)     states x updated from the gradient g; noise of a velocity rule is added to x[0] right after
//   displace(lr, s, g, x)   the displacement -lr * (...)
//   finish(s, delta, x)     what must see the final displacement
//
// The same names in the same order stand in qlangevin/reference.py and triton_kernels/rules.py; a test compares them.
#pragma once

#include "scalars.h"

namespace ql {

enum class NoiseSite { velocity, displacement };

struct Plain {
  static constexpr const char* name = "plain";
  static constexpr int hypers = 0;
  static constexpr int states = 0;
  static constexpr NoiseSite site = NoiseSite::displacement;
  struct Scalars {};

  static double noise_variance(const Hyper& h) { return 2.0 * h.lr * h.temperature; }

  static Scalars prepare(const Hyper&, int64_t) { return {}; }

  template <class L>
  static QL_HD void accumulate(const Scalars&, typename L::F, typename L::F*) {}

  template <class L>
  static QL_HD typename L::F displace(float lr, const Scalars&, typename L::F g, const typename L::F*) {
    return -(g * lr);
  }

  template <class L>
  static QL_HD void finish(const Scalars&, typename L::F, typename L::F*) {}
};

// torch.optim.SGD's momentum: the velocity does not include lr, and the first gradient enters undamped.
struct Momentum {
  static constexpr const char* name = "momentum";
  static constexpr int hypers = 3;  // momentum, dampening, nesterov
  static constexpr int states = 1;  // momentum_buffer
  static constexpr NoiseSite site = NoiseSite::velocity;
  struct Scalars {
    float momentum, grad_factor;
    bool nesterov;
  };

  // 2 (1 - momentum) lr T for the displacement -lr * velocity, so that over lr^2 for the velocity.
  static double noise_variance(const Hyper& h) { return 2.0 * (1.0 - h.rule[0]) * h.temperature / h.lr; }

  static Scalars prepare(const Hyper& h, int64_t step) {
    return {round_once(h.rule[0]), step == 1 ? 1.0f : round_once(1.0 - h.rule[1]), h.rule[2] != 0.0};
  }

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    x[0] = x[0] * s.momentum + g * s.grad_factor;
  }

  template <class L>
  static QL_HD typename L::F displace(float lr, const Scalars& s, typename L::F g, const typename L::F* x) {
    if (s.nesterov) return -((g + x[0] * s.momentum) * lr);
    return -(x[0] * lr);
  }

  template <class L>
  static QL_HD void finish(const Scalars&, typename L::F, typename L::F*) {}
};

template <class... Rules>
struct RuleList {};

using AllRules = RuleList<Plain, Momentum>;

}  // namespace ql
