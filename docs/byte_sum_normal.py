"""The byte-sum normal: coefficients and exact law. Usage: byte_sum_normal.py [DEGREE W0 W1 W2 W3]; needs numpy and scipy.

One uniform 32-bit word -> s = sum of w_i * byte_i (exact integer) -> x = (s - mean) / sd -> z = x * P(x^2).
The law of s is known exactly (a convolution of four uniform laws), so the law of z is too: nothing here is sampled.
P is the minimax fit of the normal distribution function (Lawson's iteration), then scaled to variance 1.
"""

import sys

import numpy as np
from scipy.special import ndtri
from scipy.stats import norm


def law(weights):
    """Probabilities of s = 0 .. 255 * sum(weights), exact up to rounding of binary64."""
    n = 255 * sum(weights) + 1
    p = np.zeros(n)
    p[0] = 1.0
    for w in weights:  # add one byte: p'[i] = mean over k < 256 of p[i - k w]
        rows = -(-n // w)
        c = np.zeros(rows * w)
        c[:n] = p
        c = np.cumsum(c.reshape(rows, w), 0)
        d = c.copy()
        d[256:] -= c[:-256]
        p = d.reshape(-1)[:n] / 256
    return np.maximum(p, 0)


def fit(weights, degree, iterations=400):
    """The coefficients for these weights and this degree, and the exact law that they give."""
    p = law(weights)
    s = np.arange(len(p))
    mean = (p * s).sum()
    sd = np.sqrt((p * (s - mean) ** 2).sum())
    x = (s - mean) / sd
    upper = np.cumsum(p[::-1])[::-1] - 0.5 * p
    use = (p > 1e-13) & (x > 1e-3)
    xs, tail = x[use], upper[use]
    z, density = -ndtri(tail), norm.pdf(ndtri(tail))
    basis = np.vander(xs**2, degree + 1, increasing=True) * xs[:, None]
    w, best = np.ones_like(xs), (np.inf, None)
    for _ in range(iterations):
        scale = np.sqrt(w) * density
        c, *_ = np.linalg.lstsq(basis * scale[:, None], z * scale, rcond=None)
        error = np.abs(norm.sf(basis @ c) - tail)
        if error.max() < best[0]:
            best = (error.max(), c)
        w *= error / error.max() + 1e-3
        w /= w.max()
    c = best[1]

    def value(c):
        return x * np.polyval(c[::-1], x**2)

    c = (c / np.sqrt((p * value(c) ** 2).sum())).astype(np.float32).astype(np.float64)
    v = value(c)
    order = np.argsort(v, kind="stable")
    below, here, target = np.cumsum(p[order]) - p[order], p[order], norm.cdf(v[order])
    kolmogorov = max(np.abs(target - below).max(), np.abs(target - below - here).max())
    return {
        "weights": weights,
        "degree": degree,
        "mean": mean,
        "sd": sd,
        "coefficients": c.tolist(),
        "cdf_error_between_atoms": float(np.abs(norm.sf(v[use]) - tail).max()),
        "kolmogorov_distance": float(kolmogorov),
        "tail_ratio_at_3_4_4.5_4.75_5": [
            round(float(p[np.abs(v) > t].sum() / (2 * norm.sf(t))), 3) for t in (3, 4, 4.5, 4.75, 5)
        ],
        "moments_2_4_6_8": [float((p * v**k).sum()) for k in (2, 4, 6, 8)],
        "largest": float(np.abs(v[p > 0]).max()),
        "monotone": bool(np.all(np.diff(v[p > 0]) >= 0)),
    }


if __name__ == "__main__":
    a = [int(v) for v in sys.argv[1:]]
    for degree, weights in [(a[0], tuple(a[1:]))] if a else [(6, (255, 233, 229, 197))]:
        for key, val in fit(weights, degree).items():
            print(f"{key:28} {val}")
        print()
