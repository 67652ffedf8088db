"""The one table of tolerances. Where a test names none of these, it compares exactly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """A bound and why it is that large."""

    bound: float
    reason: str


TOLERANCES = {
    "z": Tolerance(
        5.0,
        "standard errors, computed from the sample size: a right program exceeds 5 of them once in 1.7 million tests, and the "
        "tests' seeds are fixed",
    ),
    "kolmogorov_test": Tolerance(
        2.75, "sqrt(n) D of a sample of size n: Kolmogorov's law exceeds it with the probability 5.7e-7 of |z| > 5"
    ),
    "anderson_darling": Tolerance(
        13.1,
        "A^2 of a sample: its limit law, sum chi^2_j / (j (j + 1)), exceeds x with probability about sqrt(3) erfc(sqrt(x)), "
        "5.7e-7 at 13.05",
    ),
    "kolmogorov_distance": Tolerance(1e-5, "the contract's bound for the law of the Gaussian noise, atoms included"),
    "noise_variance": Tolerance(1e-6, "the contract's bound for the variance of a noise law"),
    "noise_tail": Tolerance(0.12, "the contract's bound, relative to the normal tail, up to 4.75 sigma"),
    "noise_moment_4": Tolerance(5e-4, "the contract's figure for its draft of this law, 3.0005 where the normal has 3"),
    "noise_moment_6": Tolerance(0.014, "the contract's figure for its draft of this law, 15.014 where the normal has 15"),
    "binary64_law": Tolerance(1e-12, "sums over 2.3e5 atoms in binary64, each of relative error 1e-16"),
    "step_roundings": Tolerance(
        32.0,
        "units of 2^-24 relative to the sum of the absolute values of all terms: the longest chain is 13 roundings of products, "
        "sums and scalars, and 19 more for a Gaussian noise value and its scale",
    ),
    "inverse_root": Tolerance(1.21e-7, "relative; what csrc/core/root.h says: 1.2034e-7 is the most over all mantissas"),
    "binary64_root": Tolerance(
        2.0**-51, "relative; a root and a quotient here, a root and a product in the test, each within 2^-53"
    ),
    "levy": Tolerance(
        2.0**-23,
        "relative; a value is made in binary64 to some 2^-50 on either side, so that both round it to one of "
        "two neighbours in binary32",
    ),
    "scaled_levy": Tolerance(2.0**-22, "relative; levy's 2^-23, and the rounding of its product with the scale, 2^-24 twice"),
    "corrected_end": Tolerance(
        0.2,
        "relative excess of the corrected rounding's variance within two deviations of a binade's end, for noise between half a "
        "spacing and one: what lands beyond the end is rounded once more, to twice the spacing",
    ),
    "discrete_chain": Tolerance(
        1e-6, "relative; binary32 arithmetic in a linear chain shifts its variance by a few 2^-24 / (lr a), lr a >= 0.02"
    ),
    # tests/optim
    "sgd_twin_param": Tolerance(
        2.0**-23,
        "of |p|: one rounding of the final sum, 2^-24 of it, in either program; the other terms' share is sgd_twin_update's",
    ),
    "sgd_twin_update": Tolerance(
        2.0**-20,
        "of lr times the sum of the absolute values of all terms: at most eight roundings of 2^-24 of a term in either program "
        "(decay's product and sum, dampening, the velocity's sum, Nesterov's product and sum, lr, the final sum)",
    ),
    "sgd_twin_velocity": Tolerance(
        2.0**-21,
        "of the sum of the absolute values of all terms: at most four roundings of 2^-24 of a term in either program (decay's "
        "product and sum, dampening, the velocity's sum)",
    ),
    "clip_twin": Tolerance(
        2.0**-24,
        "for each squared element, relative to the clipped gradient: torch sums squares in binary32, each addition of n positive "
        "terms rounds once, and the root halves that; the halves left pay for the scalars",
    ),
    "compensation": Tolerance(
        2.0**-22,
        "of the norms of h and of r = h f together: the norm, f, the product and the sum are rounded once each to binary32, by "
        "2^-24 of r, r, r and h + r",
    ),
    "metrics": Tolerance(
        2.0**-18,
        "relative; the measured values themselves are binary32 results of at most 30 roundings, compared with the same formulas "
        "in binary64",
    ),
    "thermostat_at_small_lr": Tolerance(
        1e-3, "relative; a chain's variance differs from T / a by lr a / 2 and less, lr a = 1e-3"
    ),
    "five_steps_in_binary32": Tolerance(
        5 * 40 * 2.0**-24,
        "absolute; in each of five steps at most 2 roundings of 2^-24 of a parameter below 4, and 32 of a displacement below 1",
    ),
    # tests/methods
    "twin_grad": Tolerance(
        4 * 2.0**-24,
        "of |grad| + decay |param|: decay's product and the sum, in either program",
    ),
    "twin_first_moment": Tolerance(
        5 * 2.0**-24,
        "of |m| + w |g|, w = 1 - beta1. Ours: two products and a sum, 2 beta1 |m| + 2 w |g|. torch's m + w (g - m): a "
        "difference and a product, 2 w (|m| + |g|), a sum, beta1 |m| + w |g|, and rounding beta1 here and w there, |m|. "
        "Together (3 + beta1) |m| + 5 w |g|",
    ),
    "twin_second_moment": Tolerance(
        6 * 2.0**-24,
        "of the new moment: in either program a product and a sum for what is kept, two products and a sum for the square",
    ),
    "adagrad_twin_sum": Tolerance(4 * 2.0**-24, "of the new sum: in either program a product and a sum for the square"),
    "rmsprop_twin_update": Tolerance(
        16.1 * 2.0**-24,
        "of lr P |g|. inverse_root is within 2.03 units of 2^-24. Ours: 3.03 for x inverse_root(x), 4.03 with eps, half of "
        "that and 2.03 for the root of P, 4.05; 9.1 for its square, 11.1 with g and lr. torch: its root, within an ulp, 2, "
        "eps, a product and a quotient, 5",
    ),
    "rmsprop_twin_variance": Tolerance(
        2 * 2.0**-24,
        "of v, the sum of m^2 and v - m^2, either of which is rounded in either program. It and the moments' own bounds count "
        "v / (v - m^2) times in the variance, by which the test divides: 100 times where the mean is 10 deviations",
    ),
    "rmsprop_twin_kept": Tolerance(
        6 * 2.0**-24, "of momentum |b|: the momentum's rounding, a product and the sum in either program; P g has its own"
    ),
    "rmsprop_twin_moved": Tolerance(4 * 2.0**-24, "of lr (momentum |b| + P |g|): lr's rounding and product in either program"),
    "adam_twin_update": Tolerance(
        22.1 * 2.0**-24,
        "of lr P |m|; 14.1 of ours: RMSprop's 11.1, the root's correction and its rounding 2, the displacement's factor's "
        "rounding 1. 8 of torch's: 5 as RMSprop's, the correction, its rounding and that of the factor",
    ),
    "adadelta_twin_update": Tolerance(
        21.6 * 2.0**-24,
        "of lr P |g|. Ours: 3 for (u + eps) (v + eps), of whose roundings P has half of each, 1.5, and 2.03 and 1 for "
        "inverse_root and the product; half of 4.53 and 3.03 for the root of P, 5.3; 11.6 for its square, 13.6 with g and lr. "
        "torch: 2.5 for either root, the quotient, two products, 8",
    ),
    "adadelta_twin_kept": Tolerance(4 * 2.0**-24, "of rho acc_delta: a product and the sum in either program"),
    "adadelta_twin_new": Tolerance(
        53.2 * 2.0**-24,
        "of (1 - rho) (P g)^2: twice 13.6 and 3 for the roundings of lr, 1 / lr and their product here, twice 7 there, and "
        "two products and a sum in either program",
    ),
    "sghmc_twin_velocity": Tolerance(
        5 * 2.0**-24,
        "of the sum of the absolute values of all terms: for the carried velocity lr's product before the step, a product and "
        "a sum here, a product and a sum there; for the gradient lr's rounding, a product and a sum here, a sum there",
    ),
    "sghmc_twin_update": Tolerance(2 * 2.0**-24, "of the velocity: lr's rounding and its product in torch"),
    "twin_decoupled_decay": Tolerance(
        3.1 * 2.0**-24,
        "of |p|: a sum here, the factor's rounding and a product there, and two more of lr decay |p| here, lr decay <= 0.05",
    ),
    "closed_form": Tolerance(
        1e-10, "relative; two binary64 evaluations of one formula, whose conditioning is at most 1e5 roundings of 2^-53 here"
    ),
    "binary32_scalar": Tolerance(
        2.0**-23, "relative; a norm and a factor, each rounded once to binary32 (2^-24), times a binary64 vector"
    ),
    "cool_twin": Tolerance(
        2.0**-20,
        "of the sum of the absolute values of all terms of the velocity: at most eight roundings of 2^-24 of a term in either "
        "program (the carried velocity, the factors, their products, decay's product and sum, the sums)",
    ),
    "same_chain": Tolerance(
        3e-4,
        "absolute; 50 steps of at most ten roundings of 2^-24 of terms below 10 each, 6e-7, in a chain that amplifies nothing",
    ),
    "fluctuating_p": Tolerance(
        0.03,
        "relative; the mean of P is put for the root of the mean of P^2, an average of chi^2 over 100 steps that spreads by 10 %",
    ),
    "trajectory": Tolerance(
        1e-11,
        "absolute; each step adds some 20 roundings of 2^-53 of terms below 10, 2e-14, and the slowest of them is forgotten in "
        "1 / (lr a) = 256 steps without momentum; momentum 0.99 remembers it for 200 steps too",
    ),
    "boltzmann_bias": Tolerance(
        0.02, "absolute, of a share; to first order in lr the chain's T is off by lr U'' / 4 of itself, U'' <= 8.3 in the wells"
    ),
    "cooling_gain": Tolerance(
        1e-3,
        "Fisher's p of 96 clusters against 96; 50 against 8 have 1e-11, and the runs are chaotic: another processor's are other "
        "draws, one in some thousands of which would give more than this",
    ),
    "printed_digits": Tolerance(5e-4, "a table with three digits after the point"),
    "two_digits": Tolerance(5e-3, "absolute; a depth told with two digits after the point"),
    "four_digits": Tolerance(1e-4, "absolute; a constant written with four digits after the point"),
    "central_difference": Tolerance(1e-8, "absolute; h^2 / 6 of a third derivative below 50, h = 1e-5, and 2^-53 of 20 over h"),
    "order_of_a_sum": Tolerance(
        2.0**-20, "the norm's rounding to binary32 may differ by 2^-23 of it, and each of two steps rounds a few times more"
    ),
    "sigmoid_tail": Tolerance(1e-9, "relative; (1 + tanh(-x)) / 2 cancels to 7e-8 at x = 8.25, and keeps 2^-53 of 1"),
    "small_steps": Tolerance(1e-8, "absolute; some roundings of 2^-24 of sums below 1e-2"),
    "first_order": Tolerance(0.05, "halving lr halves such an error up to its second order, lr a / 2 of it"),
}


def bound(name: str) -> float:
    """The bound called `name`."""
    return TOLERANCES[name].bound
