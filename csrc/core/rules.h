// All rules, in the order of qlangevin/reference_rules.py.
#pragma once

#include "adaptive_rules.h"
#include "momentum_rules.h"
#include "rmsprop_rules.h"

namespace ql {

template <class... Rules>
struct RuleList {};

using AllRules = RuleList<Plain, Momentum, CoolMomentum, SGHMC, RMSprop, Adagrad, Adam, AdamAmsgrad, Adadelta, RMSpropCentered,
                          RMSpropMomentum, RMSpropCenteredMomentum>;

}  // namespace ql
