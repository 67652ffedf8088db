// The rules with a diagonal preconditioner P, made of a second moment of the gradients; rule.h says what the members of a rule
// are.
#pragma once

#include "rule.h"

namespace ql {

// P is fixed after the step frozen_at of a tensor's own count; never for 0.
QL_HD bool is_frozen(double frozen_at, int64_t step) {
  return frozen_at > 0.0 && static_cast<double>(step) > frozen_at;
}

// sqrt(P), and 0 where the second moment is 0 once P is fixed: there P would stay 1 / eps whatever gradients come.
template <class L>
QL_HD typename L::F hold_unseen(bool frozen, typename L::F moment, typename L::F root) {
  if (!frozen) return root;
  return L::select(moment == 0.0f, L::float_of(L::splat(0u)), root);
}

// sqrt(P) of P = 1 / (sqrt(moment) * factor + eps).
template <class L>
QL_HD typename L::F root_of_inverse(typename L::F moment, float factor, float eps) {
  return inverse_root<L>(moment * inverse_root<L>(moment) * factor + eps);
}

// torch.optim.RMSprop's, not centred and without momentum (rmsprop_rules.h); with noise Li et al.'s pSGLD without its divergence
// term (AAAI 2016).
struct RMSprop {
  using Kernel = RMSprop;
  static constexpr const char* name = "rmsprop";
  static constexpr int hypers = 3;  // alpha, eps, frozen_at
  static constexpr int states = 1;  // square_avg
  static constexpr NoiseSite site = NoiseSite::displacement;
  static constexpr int second_moment = 0;
  struct Scalars {
    float decay, square_factor, eps, displacement_factor;
    bool frozen;
  };

  static QL_HD double noise_variance(const Hyper& h, int64_t) { return 2.0 * h.lr * h.temperature; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t step) {
    return {round_once(h.rule[0]), round_once(1.0 - h.rule[0]), round_once(h.rule[1]), -round_once(h.lr),
            is_frozen(h.rule[2], step)};
  }

  template <class L, class S>  // S: its scalars, or those of a rule that has more
  static QL_HD void accumulate(const S& s, typename L::F g, typename L::F* x) {
    if (!s.frozen) x[0] = x[0] * s.decay + g * g * s.square_factor;
  }

  template <class L, class S>
  static QL_HD typename L::F precondition(const S& s, const typename L::F* x) {
    return hold_unseen<L>(s.frozen, x[0], root_of_inverse<L>(x[0], 1.0f, s.eps));
  }

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F g, typename L::F r, const typename L::F*) {
    return g * (r * r) * s.displacement_factor;
  }

  template <class L>
  static QL_HD void finish(const Scalars&, typename L::F, typename L::F*) {}
};

// torch.optim.Adagrad's: a sum in place of the average, and lr / (1 + (step - 1) lr_decay).
struct Adagrad : RMSprop {
  static constexpr const char* name = "adagrad";
  static constexpr int hypers = 3;  // lr_decay, eps, frozen_at
  static constexpr int states = 1;  // sum

  static QL_HD double decayed_lr(const Hyper& h, int64_t step) {
    return h.lr / (1.0 + static_cast<double>(step - 1) * h.rule[0]);
  }

  static QL_HD double noise_variance(const Hyper& h, int64_t step) { return 2.0 * decayed_lr(h, step) * h.temperature; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t step) {
    return {1.0f, 1.0f, round_once(h.rule[1]), -round_once(decayed_lr(h, step)), is_frozen(h.rule[2], step)};
  }
};

// torch.optim.Adam's. epsilon_hat: eps is added to the uncorrected root, as in the end of section 2 of Kingma and Ba (ICLR 2015).
// Without momentum_in_drift the gradient itself takes exp_avg's place. P includes 1 / (1 - beta1^step) (Bras, arXiv 2212.14718).
struct Adam {
  using Kernel = Adam;
  static constexpr const char* name = "adam";
  static constexpr int hypers = 6;  // beta1, beta2, eps, epsilon_hat, momentum_in_drift, frozen_at
  static constexpr int states = 2;  // exp_avg, exp_avg_sq
  static constexpr NoiseSite site = NoiseSite::displacement;
  static constexpr int second_moment = 1;
  struct Scalars {
    float beta1, grad_factor, beta2, square_factor, root_factor, eps, displacement_factor;
    bool momentum_in_drift, frozen;
  };

  // 1 - beta2^step, of the last step that changed P.
  static QL_HD double square_correction(const Hyper& h, int64_t step) {
    return 1.0 - power(h.rule[1], is_frozen(h.rule[5], step) ? static_cast<int64_t>(h.rule[5]) : step);
  }

  // What P has besides 1 / (sqrt(exp_avg_sq) root_factor + eps).
  static QL_HD double correction(const Hyper& h, int64_t step) {
    return (h.rule[3] != 0.0 ? std::sqrt(square_correction(h, step)) : 1.0) / (1.0 - power(h.rule[0], step));
  }

  static QL_HD double noise_variance(const Hyper& h, int64_t step) { return 2.0 * h.lr * h.temperature * correction(h, step); }

  static QL_HD Scalars prepare(const Hyper& h, int64_t step) {
    return {round_once(h.rule[0]),
            round_once(1.0 - h.rule[0]),
            round_once(h.rule[1]),
            round_once(1.0 - h.rule[1]),
            h.rule[3] != 0.0 ? 1.0f : round_once(1.0 / std::sqrt(square_correction(h, step))),
            round_once(h.rule[2]),
            -round_once(h.lr * correction(h, step)),
            h.rule[4] != 0.0,
            is_frozen(h.rule[5], step)};
  }

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    x[0] = x[0] * s.beta1 + g * s.grad_factor;
    if (!s.frozen) x[1] = x[1] * s.beta2 + g * g * s.square_factor;
  }

  template <class L>
  static QL_HD typename L::F precondition(const Scalars& s, const typename L::F* x) {
    return hold_unseen<L>(s.frozen, x[1], root_of_inverse<L>(x[1], s.root_factor, s.eps));
  }

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F g, typename L::F r, const typename L::F* x) {
    if (s.momentum_in_drift) g = x[0];  // a choice between two places would go through the GPU's memory
    return g * (r * r) * s.displacement_factor;
  }

  template <class L>
  static QL_HD void finish(const Scalars&, typename L::F, typename L::F*) {}
};

// The same with the largest exp_avg_sq so far in the place of the present one (Reddi, Kale, Kumar, ICLR 2018).
struct AdamAmsgrad : Adam {
  using Kernel = AdamAmsgrad;
  static constexpr const char* name = "adam_amsgrad";
  static constexpr int states = 3;  // exp_avg, exp_avg_sq, max_exp_avg_sq
  static constexpr int second_moment = 2;

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    Adam::accumulate<L>(s, g, x);
    if (!s.frozen) x[2] = L::select(x[2] >= x[1], x[2], x[1]);  // a NaN stays in x[1]
  }

  template <class L>
  static QL_HD typename L::F precondition(const Scalars& s, const typename L::F* x) {
    return hold_unseen<L>(s.frozen, x[2], root_of_inverse<L>(x[2], s.root_factor, s.eps));
  }
};

// torch.optim.Adadelta's, P = sqrt((acc_delta + eps) / (square_avg + eps)). acc_delta averages the squares of the final
// displacement over lr, noise included (Bras, arXiv 2212.14718).
struct Adadelta {
  using Kernel = Adadelta;
  static constexpr const char* name = "adadelta";
  static constexpr int hypers = 3;  // rho, eps, frozen_at
  static constexpr int states = 2;  // square_avg, acc_delta
  static constexpr NoiseSite site = NoiseSite::displacement;
  static constexpr int second_moment = 0;
  struct Scalars {
    float rho, square_factor, eps, displacement_factor, inverse_lr;
    bool frozen;
  };

  static QL_HD double noise_variance(const Hyper& h, int64_t) { return 2.0 * h.lr * h.temperature; }

  static QL_HD Scalars prepare(const Hyper& h, int64_t step) {
    const double inverse = h.lr > 0.0 ? 1.0 / h.lr : 0.0;
    return {round_once(h.rule[0]),
            round_once(1.0 - h.rule[0]),
            round_once(h.rule[1]),
            -round_once(h.lr),
            round_once(inverse > kLargest ? kLargest : inverse),
            is_frozen(h.rule[2], step)};
  }

  template <class L>
  static QL_HD void accumulate(const Scalars& s, typename L::F g, typename L::F* x) {
    if (!s.frozen) x[0] = x[0] * s.rho + g * g * s.square_factor;
  }

  template <class L>
  static QL_HD typename L::F precondition(const Scalars& s, const typename L::F* x) {
    using F = typename L::F;
    const F numerator = x[1] + s.eps;
    const F p = numerator * inverse_root<L>(numerator * (x[0] + s.eps));
    return hold_unseen<L>(s.frozen, x[0], p * inverse_root<L>(p));
  }

  template <class L>
  static QL_HD typename L::F displace(const Scalars& s, typename L::F g, typename L::F r, const typename L::F*) {
    return g * (r * r) * s.displacement_factor;
  }

  template <class L>
  static QL_HD void finish(const Scalars& s, typename L::F delta, typename L::F* x) {
    const typename L::F u = delta * s.inverse_lr;
    if (!s.frozen) x[1] = x[1] * s.rho + u * u * s.square_factor;
  }
};

}  // namespace ql
