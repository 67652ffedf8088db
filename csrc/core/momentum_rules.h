// The rules without a preconditioner; rule.h says what the members of a rule are.
#pragma once

#include "rule.h"

namespace ql {

struct Plain {
  using Kernel = Plain;
  static constexpr const char* name = "plain";
  static constexpr int hypers = 0;
  static constexpr int states = 0;
  static constexpr NoiseSite site = NoiseSite::displacement;
  static constexpr int second_moment = -1;
  struct Scalars {
    float displacement_factor;
  };

  static QL_HD double noise_variance(const Hyper& h, int64_t) { return 2.0 * h.lr * h.temperature; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t) { return {-round_once(h.lr)}; }

  template <class L>
  static QL_HD void accumulate(const Scalars&, typename L::F, typename L::F*) {}

  template <class L>
  static QL_HD typename L::F precondition(const Scalars&, const typename L::F*) {
    return L::float_of(L::splat(0x3F800000u));  // 1
  }

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F g, typename L::F, const typename L::F*) {
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
  static constexpr int second_moment = -1;
  struct Scalars {
    float momentum, grad_factor, displacement_factor;  // the last of them times the velocity is the displacement
    bool nesterov;
  };

  // 2 (1 - momentum) lr T for the displacement -lr * velocity, so that over lr^2 for the velocity.
  static QL_HD double noise_variance(const Hyper& h, int64_t) { return 2.0 * (1.0 - h.rule[0]) * h.temperature / h.lr; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t step) {
    return {round_once(h.rule[0]), step == 1 ? 1.0f : round_once(1.0 - h.rule[1]), -round_once(h.lr), h.rule[2] != 0.0};
  }

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    x[0] = x[0] * s.momentum + g * s.grad_factor;
  }

  template <class L>
  static QL_HD typename L::F precondition(const Scalars&, const typename L::F*) {
    return L::float_of(L::splat(0x3F800000u));  // 1
  }

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F g, typename L::F, const typename L::F* x) {
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

  static QL_HD double noise_variance(const Hyper& h, int64_t) { return h.lr * h.temperature * (1.0 - h.rule[0] * h.rule[0]); }

  static QL_HD Scalars prepare(const Hyper& h, int64_t) {
    return {round_once(h.rule[0]), round_once(h.lr * (1.0 + h.rule[0]) / 2.0), -1.0f, false};
  }
};

// Stochastic gradient Hamiltonian Monte Carlo: friction is 1 - momentum, and the velocity, minus the displacement, includes lr.
// noise_estimate is the part of the friction whose heat the gradients' own noise brings. Chen, Fox, Guestrin, ICML 2014, eq. 15.
struct SGHMC : Momentum {
  static constexpr const char* name = "sghmc";
  static constexpr int hypers = 2;  // friction, noise_estimate

  static QL_HD double noise_variance(const Hyper& h, int64_t) { return 2.0 * (h.rule[0] - h.rule[1]) * h.lr * h.temperature; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t) { return {round_once(1.0 - h.rule[0]), round_once(h.lr), -1.0f, false}; }
};

}  // namespace ql
