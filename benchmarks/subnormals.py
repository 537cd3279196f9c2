"""Whether subnormal numbers are slow: ``python -m benchmarks.subnormals``.

The loss with its gradient for X and Y that are all subnormal, as are then the hidden layer, the
predictions, the residuals and the gradients, beside the same for ordinary numbers, in turn. The process is
not switched to take them for 0: a library must leave that alone, and results would differ silently from the
reference.
"""

import argparse

import numpy as np

from benchmarks import grid, pinning
from fastmlp import kernels

SIZES = ((3, 4, 1), (8, 16, 1), (64, 256, 10))
ROWS = 2000


def main():
    """Measure, and print times and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subnormals", description=__doc__)
    parser.add_argument("--toy", action="store_true", help="one round: does it run at all?")
    toy = parser.parse_args().toy
    pinning.pin(1)
    print(f"loss and gradients of {ROWS} rows, one thread: µs, and times as long with subnormal numbers")
    for build in kernels.AVAILABLE_ISAS:
        for dtype in grid.DTYPES:
            for sizes in SIZES:
                usual, subnormal = measure(build, np.dtype(dtype), sizes, toy)
                name = f"{grid.name(sizes)} {dtype} {build}"
                print(f"{name:32} {1e6 * usual:8.1f} {subnormal / usual:6.2f}×")


def measure(build, dtype, sizes, toy):
    """Seconds of a call with ordinary numbers, and of one with subnormal ones."""
    X, Y, W1, W2 = grid.data(sizes, ROWS, dtype)
    W1[-1] = W2[-1] = 0  # no bias to lift them
    parameters = np.concatenate([W1.ravel(), W2.ravel()])
    gradient = np.empty_like(parameters)
    with kernels.use(build):
        network = kernels.compiled(sizes, ("relu",), dtype, columns=sizes[-1])
    tiny = np.finfo(dtype).smallest_normal / 64 / sizes[1]

    def calls(X, Y):
        return grid.repeated(lambda: network.loss_and_gradients(X, Y, None, parameters, gradient, 1))

    sides = {"usual": calls(X, Y), "subnormal": calls(X * tiny, Y * tiny)}
    sides["subnormal"](1)
    largest = np.abs(gradient).max()
    if not 0 < largest < np.finfo(dtype).smallest_normal:
        raise AssertionError(f"the gradients are not subnormal but {largest}")
    times = grid.interleaved(sides, toy)
    return times["usual"], times["subnormal"]


if __name__ == "__main__":
    main()
