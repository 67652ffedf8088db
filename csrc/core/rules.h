// All rules, in the order of qlangevin/reference_rules.py.
#pragma once

#include "adaptive_rules.h"
#include "momentum_rules.h"

namespace ql {

template <class... Rules>
struct RuleList {};

using AllRules = RuleList<Plain, Momentum, CoolMomentum, SGHMC, RMSprop, Adagrad, Adam, AdamAmsgrad, Adadelta>;

}  // namespace ql
