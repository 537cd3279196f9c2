"""What is measured, and how: the grid, its data, and pairs of rounds."""

import statistics
import time
from itertools import pairwise

import numpy as np

from fastmlp import MLP

DTYPES = ("float32", "float64")
SIZES = ((3, 4, 1), (8, 16, 1), (16, 64, 1), (64, 256, 1), (128, 1024, 1))
ROWS = (32, 1309, 100_000)
STEPS = {  # rows for each network, of full-batch steps in a fit
    (3, 4, 1): (256, 1309, 100_000),
    (4, 8, 1): (256, 10_000),
    (8, 16, 1): (256, 10_000),
    (16, 64, 1): (32, 256, 10_000),
    (64, 256, 1): (256, 10_000),
    (128, 1024, 1): (256, 10_000),
    (784, 256, 10): (256, 10_000),
    (256, 256, 16): (256,),
    (320, 256, 8): (256,),
}
DEEP = {  # the same, with two and more hidden layers
    (4, 16, 16, 1): (256,),
    (8, 32, 32, 1): (256, 4000),
    (16, 64, 64, 1): (256,),
    (8, 64, 64, 4, 1): (256,),
    (64, 256, 256, 1): (256,),
    (64, 256, 256, 10): (256,),
    (784, 256, 128, 10): (256, 4000),
    (54, 256, 256, 256, 7): (256, 4000),
}
DEEP_TANH = {(8, 32, 32, 1): (256,), (4, 32, 16, 4): (10_000,), (32, 100, 100, 100, 1): (256,)}
DEEP_STEPS = {"relu": DEEP, "tanh": DEEP_TANH}
TOY_SIZES = ((3, 4, 1), (16, 20, 2))
TOY_ROWS = (32, 100)

ROUND = 0.1  # seconds: many steps share what a call costs once (fresh memory for 10**5 weights: some ms)
ROUNDS = 7
PAUSE = 0.05  # seconds between two of many sides: after a call a library's threads spin on for a while
BUDGET = 20.0  # seconds for all rounds of one case, but at least three rounds


def name(value):
    """The sizes (3, 4, 1) as the name "3→4→1"; anything else as it is."""
    return "→".join(map(str, value)) if isinstance(value, tuple) else str(value)


def step_name(step):
    """Of a step in a report: sizes, activation where it is not ReLU, rows."""
    activation = "" if step["activation"] == "relu" else f" {step['activation']}"
    return f"{name(tuple(step['sizes']))}{activation} n={step['rows']}"


def data(sizes, n, dtype):
    """X (n, sizes[0]), Y (n, sizes[-1]) and the weights of each layer: quarters in [-1, 1], always the same.

    The sums z of such numbers are exact in float32, so no rounding moves one across the kink of the
    ReLU, and reference.error_bounds holds.
    """
    rng = np.random.default_rng(0)
    shapes = ((n, sizes[0]), (n, sizes[-1]), *((n_in + 1, n_out) for n_in, n_out in pairwise(sizes)))
    return tuple((rng.integers(-4, 5, shape) / 4).astype(dtype) for shape in shapes)


def problem(sizes, n, dtype):
    """X, Y as `data` has them, and weights to train from.

    From the weights of `data` descent could diverge, and of such round numbers some gradients cancel to 0:
    Adam makes a whole step of whatever rounding leaves of them.
    """
    X, Y, *_ = data(sizes, n, dtype)
    return X, Y, *MLP(sizes, dtype=dtype, seed=0).weights


def repeated(function):
    """A function that calls another one so many times."""

    def run(count):
        for _ in range(count):
            function()

    return run


def measure_pair(benchmark, ours, reference, toy):
    """Time `ours` with pytest-benchmark, and `reference` in turn with it, before each of its rounds.

    Each is called so often in a round that the round lasts ROUND; the benchmark's extra_info holds
    both calls per round, and the seconds of the rounds of `reference`.
    """
    ours, reference = repeated(ours), repeated(reference)
    calls, seconds = _calls(ours, toy)
    reference_calls, reference_seconds = _calls(reference, toy)
    measured = []

    def reference_round():
        measured.append(_seconds(reference, reference_calls) / reference_calls)

    rounds = _rounds(seconds + reference_seconds, toy)
    benchmark.pedantic(ours, (calls,), setup=reference_round, rounds=rounds)
    benchmark.extra_info.update(calls=calls, reference_seconds=statistics.median(measured))


def interleaved(sides, toy):
    """Time many sides in turn: the median seconds of one unit of the work of each.

    ``sides[name](count)`` does `count` units of work, in a call that is made to last ROUND. What is
    compiled at the first call is not timed.
    """
    counts, seconds = {}, 0.0
    for name, run in sides.items():
        run(1)
        counts[name], taken = _calls(run, toy)
        seconds += taken
    measured = {name: [] for name in sides}
    for _ in range(_rounds(seconds, toy)):
        for name, run in sides.items():
            time.sleep(PAUSE)
            measured[name].append(_seconds(run, counts[name]) / counts[name])
    return {name: statistics.median(times) for name, times in measured.items()}


def _calls(run, toy):
    """The `count` for which run(count) lasts a round, and how long it then lasts; warms it up."""
    count = 1
    while True:
        seconds = _seconds(run, count)
        if toy or seconds >= ROUND:
            return count, seconds
        count *= 2


def _rounds(seconds, toy):
    return 1 if toy else max(3, min(ROUNDS, int(BUDGET / seconds)))


def _seconds(run, count):
    started = time.perf_counter()
    run(count)
    return time.perf_counter() - started
