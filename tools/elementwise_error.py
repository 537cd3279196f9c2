"""The largest errors of the elementwise functions over all float32: ``python tools/elementwise_error.py``.

Every float32 is calculated by each instruction set's kernels, and in double precision by NumPy and SciPy; the
difference is in units in the last place of the correct result (of a subnormal one, the smallest subnormal).
"""

import argparse
import sys
import time

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
    parser.add_argument("--function", choices=sorted(EXACT), help="of one function only")
    options = parser.parse_args()
    above = False
    print(
        f"{'function':12}{'kernels':>10}{'limit':>7}{'error':>9}   at (of all float32 numbers, or every "
        f"{options.stride}-th)"
    )
    for name in [options.function] if options.function else EXACT:
        for isa in [options.isa] if options.isa else kernels.AVAILABLE_ISAS:
            started = time.perf_counter()
            with kernels.use(isa):
                error, x = largest_error(name, options.stride)
            above |= error > LIMITS[name]
            seconds = time.perf_counter() - started
            print(f"{name:12}{isa:>10}{LIMITS[name]:7.1f}{error:9.3f}   {x!r} ({seconds:.0f} s)", flush=True)
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
