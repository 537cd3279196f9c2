"""The largest errors of the elementwise functions: ``python tools/elementwise_error.py``.

Every float32 is calculated by each instruction set's kernels, and in double precision by NumPy and SciPy; the
difference is in units in the last place of the correct result (of a subnormal one, the smallest subnormal).
With ``--draws N`` it is N random float64 numbers and those at the borders, compared with mpmath.
"""

import argparse
import sys
import time

import mpmath
import numpy as np
from scipy import special

from fastmlp import kernels
from fastmlp.activations import LEAK, SELU_ALPHA, SELU_SCALE

AT_ONCE = 2**22
LIMITS = dict.fromkeys(("exp", "expm1", "log", "log1p", "tanh", "logistic", "erf"), 2.0) | dict.fromkeys(
    ("softplus", "elu", "selu", "leaky_relu", "silu", "gelu", "mish"), 4.0
)


def softplus(x):
    """log(1 + exp(x))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def tanh_of_softplus(x):
    """(e² + 2e) / (e² + 2e + 2) for e = exp(x), without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x > 0, (1 + 2 * e) / (1 + 2 * e + 2 * e * e), e * (e + 2) / (e * (e + 2) + 2))


def times(x, factor):
    """X times a factor that is 0 at minus infinity; 0 there."""
    return np.where(np.isneginf(x), 0, x) * factor


EXACT = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "logistic": special.expit,
    "erf": special.erf,
    "softplus": softplus,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
    "leaky_relu": lambda x: np.where(x > 0, x, LEAK * x),
    "silu": lambda x: times(x, special.expit(x)),
    "gelu": lambda x: times(x, special.erfc(-x / np.sqrt(2)) / 2),
    "mish": lambda x: times(x, tanh_of_softplus(x)),
}


def mish_in_digits(x):
    """Of an mpf."""
    e = mpmath.exp(x)
    return x * (e * e + 2 * e) / (e * e + 2 * e + 2)


IN_DIGITS = {  # of an mpf, in as many digits as mpmath is set to
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": lambda x: mpmath.log(x) if x else mpmath.mpf("-inf"),
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "logistic": lambda x: 1 / (1 + mpmath.exp(-x)),
    "erf": mpmath.erf,
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mpmath.expm1(x)),
    "leaky_relu": lambda x: x if x > 0 else LEAK * x,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "mish": mish_in_digits,
}


def float64_numbers(name, draws, rng):
    """So many random numbers, of all sizes and where the function bends, and those at its borders."""
    fifth = draws // 5
    x = np.concatenate(
        [
            rng.uniform(-1, 1, fifth),
            rng.uniform(-20, 20, 2 * fifth),
            rng.uniform(-800, 720, fifth),
            rng.choice([-1, 1], draws - 4 * fifth) * 10.0 ** rng.uniform(-320, 308, draws - 4 * fifth),
            [0.0, -0.0, 5e-324, -5e-324, 2.3e-308, 1.0, -1.0, 0.75, 0.625, 709.78, -708.4, -745.13, -38.5],
        ]
    )
    if name == "log":
        return np.abs(x)
    return x[x > -1] if name == "log1p" else x


def largest_error_in_draws(name, draws, rng):
    """(error, input) of the float64 kernels over `float64_numbers`."""
    worst = (0.0, 0.0)
    x = float64_numbers(name, draws, rng)
    found = kernels.module("float64").elementwise(name, x)
    with mpmath.workdps(40):
        for number, ours in zip(x.tolist(), found.tolist(), strict=True):
            # mpmath takes ages for exp of such numbers; with the sign of the result there is no doubt of it
            limited = max(min(number, 1e5), -1e5) if name not in ("log", "log1p", "leaky_relu") else number
            truth = IN_DIGITS[name](mpmath.mpf(limited))
            nearest = float(truth)
            if limited != number and np.isfinite(nearest) and abs(nearest) > 2:  # linear, of that slope
                truth = truth / mpmath.mpf(limited) * mpmath.mpf(number)
                nearest = float(truth)
            if nearest == ours:
                continue
            unit = np.spacing(min(abs(nearest), np.finfo(np.float64).max))
            off = float(abs(mpmath.mpf(ours) - truth) / mpmath.mpf(float(unit)))
            off = np.inf if np.isnan(off) else off
            if off > worst[0]:
                worst = off, number
    return worst


def errors(name, x):
    """In units in the last place, for float32 numbers; infinite where NaN or infinity are wrong."""
    with np.errstate(all="ignore"):
        found = kernels.module("float32").elementwise(name, x)
        exact = EXACT[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
        unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(np.float32).max)).astype(np.float64)
        off = np.abs(found.astype(np.float64) - exact) / unit
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    # a result that rounds to infinity may as well be the largest number, and the other way round
    at_the_border = np.isinf(found) != np.isinf(rounded)
    near = np.abs(exact) > np.finfo(np.float32).max * (1 - 4 * np.finfo(np.float32).eps)
    off = np.where(at_the_border & near & ~np.isnan(found), 1, off)
    return np.where(same, np.minimum(np.nan_to_num(off), 0.5), np.nan_to_num(off, nan=np.inf, posinf=np.inf))


def largest_error(name, stride=1, first=0):
    """(error, input) over every `stride`-th float32."""
    worst = (0.0, np.float32(0))
    for start in range(first, 2**32, AT_ONCE * stride):
        bits = np.arange(start, min(start + AT_ONCE * stride, 2**32), stride, dtype=np.uint64)
        x = bits.astype(np.uint32).view(np.float32)
        off = errors(name, x)
        place = int(np.argmax(off))
        if off[place] > worst[0]:
            worst = float(off[place]), x[place]
    return worst


def main():
    """Print the largest error of each function and instruction set; exit 1 where one is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stride", type=int, default=1, help="take every so many-th number")
    parser.add_argument("--isa", choices=kernels.AVAILABLE_ISAS, help="of one instruction set only")
    parser.add_argument("--draws", type=int, help="so many random float64 numbers instead, against mpmath")
    parser.add_argument("--function", choices=sorted(EXACT), help="of one function only")
    options = parser.parse_args()
    of = f"{options.draws} float64 numbers" if options.draws else "all float32 numbers"
    if not options.draws and options.stride > 1:
        of = f"every {options.stride}-th float32 number"
    print(f"{'function':12}{'kernels':>10}{'limit':>7}{'error':>9}   at (of {of})")
    above = False
    for name in [options.function] if options.function else EXACT:
        for isa in [options.isa] if options.isa else kernels.AVAILABLE_ISAS:
            started = time.perf_counter()
            with kernels.use(isa):
                if options.draws:
                    error, x = largest_error_in_draws(name, options.draws, np.random.default_rng(0))
                else:
                    error, x = largest_error(name, options.stride)
            above |= error > LIMITS[name]
            seconds = time.perf_counter() - started
            print(f"{name:12}{isa:>10}{LIMITS[name]:7.1f}{error:9.3f}   {x!r} ({seconds:.0f} s)", flush=True)
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
