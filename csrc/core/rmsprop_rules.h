// torch.optim.RMSprop's other rules: centred, with momentum, and both; adaptive_rules.h has the plain one. rule.h says what the
// members of a rule are.
#pragma once

#include "adaptive_rules.h"

namespace ql {

// P of the gradients' variance in the place of their second moment (Graves, arXiv 1308.0850, eq. 38 to 41).
struct RMSpropCentered : RMSprop {
  using Kernel = RMSpropCentered;
  static constexpr const char* name = "rmsprop_centered";
  static constexpr int states = 2;  // square_avg, grad_avg

  // square_avg - grad_avg^2, and the second moment itself where rounding leaves less than 0: there torch has NaN, and 0 would
  // make P 1 / eps and throw the element away.
  template <class L>
  static QL_HD typename L::F variance(const typename L::F* x) {
    const typename L::F difference = x[0] - x[1] * x[1];
    return L::select(difference < 0.0f, x[0], difference);
  }

  template <class L, class S>
  static QL_HD void accumulate(const S& s, typename L::F g, typename L::F* x) {
    RMSprop::accumulate<L>(s, g, x);
    if (!s.frozen) x[1] = x[1] * s.decay + g * s.square_factor;
  }

  template <class L, class S>
  static QL_HD typename L::F precondition(const S& s, const typename L::F* x) {
    const typename L::F v = variance<L>(x);
    return hold_unseen<L>(s.frozen, v, root_of_inverse<L>(v, 1.0f, s.eps));
  }
};

// The velocity of P g. While P is fixed an element is the momentum rule with lr P for lr and v / P for v, so that its noise, of
// variance 2 (1 - momentum) T P / lr in v, keeps exp(-U / T) for small lr, whatever P.
struct RMSpropMomentum : RMSprop {
  using Kernel = RMSpropMomentum;
  static constexpr const char* name = "rmsprop_momentum";
  static constexpr int hypers = 4;  // alpha, eps, frozen_at, momentum
  static constexpr int states = 2;  // momentum_buffer, square_avg
  static constexpr NoiseSite site = NoiseSite::velocity;
  static constexpr int second_moment = 1;
  struct Scalars {
    float decay, square_factor, eps, momentum, displacement_factor;
    bool frozen;
  };

  static QL_HD double noise_variance(const Hyper& h, int64_t) { return 2.0 * (1.0 - h.rule[3]) * h.temperature / h.lr; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t step) {
    const RMSprop::Scalars s = RMSprop::prepare(h, step);
    return {s.decay, s.square_factor, s.eps, round_once(h.rule[3]), s.displacement_factor, s.frozen};
  }

  template <class L>
  static QL_HD typename L::F gather(const Scalars& s, typename L::F g, typename L::F r, typename L::F velocity) {
    return velocity * s.momentum + g * (r * r);
  }

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    RMSprop::accumulate<L>(s, g, x + 1);
    x[0] = gather<L>(s, g, precondition<L>(s, x), x[0]);
  }

  template <class L>
  static QL_HD typename L::F precondition(const Scalars& s, const typename L::F* x) {
    return RMSprop::precondition<L>(s, x + 1);
  }

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F, typename L::F, const typename L::F* x) {
    return x[0] * s.displacement_factor;
  }

  template <class L>
  static QL_HD void finish(const Scalars&, typename L::F, typename L::F*) {}
};

// The same with P of the variance.
struct RMSpropCenteredMomentum : RMSpropMomentum {
  using Kernel = RMSpropCenteredMomentum;
  static constexpr const char* name = "rmsprop_centered_momentum";
  static constexpr int states = 3;  // momentum_buffer, square_avg, grad_avg

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    RMSpropCentered::accumulate<L>(s, g, x + 1);
    x[0] = gather<L>(s, g, precondition<L>(s, x), x[0]);
  }

  template <class L>
  static QL_HD typename L::F precondition(const Scalars& s, const typename L::F* x) {
    return RMSpropCentered::precondition<L>(s, x + 1);
  }
};

}  // namespace ql
