"""What each specialisation of the kernels earns on this machine: ``python -m benchmarks.fast_paths``.

Each case is measured with all of them and with all but one, in turn, in one process on one processor. What is
printed is how much longer the case takes without it; the specialisation pays where that is 5 % or more.
"""

import argparse
import statistics

import numpy as np

from benchmarks import grid, pinning
from fastmlp import MLP, kernels

STEP, PREDICT = "step", "predict"
CASES = {  # of each specialisation: what is done, by which networks, with how many rows
    "tiny": [(STEP, sizes, 1000) for sizes in ((3, 4, 1), (6, 5, 1), (4, 8, 1), (8, 8, 1))],
    "single_output": [
        *((STEP, sizes, 256) for sizes in ((8, 16, 1), (16, 64, 1), (64, 256, 1), (8, 32, 32, 1))),
        (PREDICT, (64, 256, 1), 1000),
    ],
    "two_layers": [
        *((STEP, sizes, 256) for sizes in ((8, 16, 1), (16, 24, 3))),
        *((PREDICT, sizes, 1000) for sizes in ((8, 16, 1), (16, 24, 3))),
    ],
    "row_by_row": [(PREDICT, sizes, 1) for sizes in ((3, 4, 1), (16, 64, 1), (8, 32, 32, 1))],
    "unpacked": [(PREDICT, sizes, 4) for sizes in ((16, 64, 1), (128, 1024, 1), (64, 128, 128, 1))],
}
LEAST = 0.05


def main():
    """Measure, and print a line for each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fast_paths", description=__doc__)
    parser.add_argument("--toy", action="store_true", help="one round each, to see that it runs")
    options = parser.parse_args()
    pinning.limit(1)
    pinning.pin(1)
    print(f"{'specialisation':15}{'case':31}{'dtype':9}{'kernels':10}{'without it':>10}")
    for name in kernels.fast_path_names():
        earned = []
        for case in CASES[name]:
            for isa in kernels.AVAILABLE_ISAS[-1:] if options.toy else kernels.AVAILABLE_ISAS:
                for dtype in grid.DTYPES:
                    with kernels.use(isa):
                        gain = measured(name, case, dtype, options.toy)
                    if gain is not None:
                        earned.append(gain)
                        kind, sizes, n = case
                        label = f"{kind} {grid.name(sizes)} n={n}"
                        print(f"{name:15}{label:31}{dtype:9}{isa:10}{gain:+10.1%}", flush=True)
        verdict = "pays" if earned and max(earned) >= LEAST else "DOES NOT PAY"
        median = f", median {statistics.median(earned):+.1%}, largest {max(earned):+.1%}" if earned else ""
        print(f"{name}: {verdict}{median}\n", flush=True)


def measured(name, case, dtype, toy=False):
    """How much longer a case takes without a specialisation, as a share; None where it is not in use."""
    kind, sizes, n = case
    every = kernels.fast_path_names()
    hidden = ("relu",) * (len(sizes) - 2)
    sides, networks = {}, {}
    for side, names in (("with", every), ("without", [other for other in every if other != name])):
        with kernels.use(fast_paths=names):
            networks[side] = kernels.compiled(sizes, hidden, np.dtype(dtype), columns=sizes[-1])
        sides[side] = work(networks[side], kind, sizes, n, dtype)
    if name not in networks["with"].fast_paths:
        return None
    results = [np.atleast_1d(run()) for run in sides.values()]
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4 * np.abs(results[0]).max())
    seconds = grid.interleaved({side: grid.repeated(run) for side, run in sides.items()}, toy)
    return seconds["without"] / seconds["with"] - 1


def work(network, kind, sizes, n, dtype):
    """A function of no arguments that predicts, or calculates loss and gradient, and returns the result."""
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(n, columns)).astype(dtype) for columns in (sizes[0], sizes[-1]))
    parameters = MLP(sizes, dtype=dtype).parameters
    if kind == PREDICT:
        return lambda: network.predict(X, parameters, True, 1)
    gradient = np.empty_like(parameters)

    def step():
        network.loss_and_gradients(X, Y, None, parameters, gradient, 1)
        return gradient

    return step


if __name__ == "__main__":
    main()
