// What an update rule is: one small struct (momentum_rules.h, adaptive_rules.h, rmsprop_rules.h) of
//
//   name, hypers, states    what Python calls it, its hyper-parameters and its state tensors, in order
//   site                    where its noise goes: into its velocity (remembered) or onto the displacement
//   second_moment           which state is the second moment of the gradients that its preconditioner P is made of; -1: P = 1
//   noise_variance(h, step) its row of the thermostat: the variance over P added per step such that the chain samples exp(-U / T)
//   prepare(h, step)        its scalars of one step
//   accumulate(s, g, x)     states x updated from the gradient g; noise of a velocity rule is added to x[0] right after
//   precondition(s, x)      sqrt(P) of the diagonal preconditioner P
//   displace(s, g, r, x)    the displacement -lr * (...); r is sqrt(P)
//   finish(s, delta, x)     what must see the final displacement
//
// Kernel names the rule whose element functions and scalars it has: kernels are compiled once for all rules that share them.
// The same names in the same order stand in qlangevin/reference_rules.py and triton_kernels/rules.py; a test compares them.
#pragma once

#include "root.h"
#include "scalars.h"

namespace ql {

enum class NoiseSite { velocity, displacement };

}  // namespace ql
