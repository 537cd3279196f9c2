"""What is measured, and how: the grid, its data, and pairs of rounds."""

import statistics
import time

import numpy as np

DTYPES = ("float32", "float64")
SIZES = ((3, 4, 1), (8, 16, 1), (16, 64, 1), (64, 256, 1), (128, 1024, 1))
ROWS = (32, 1309, 100_000)
TOY_SIZES = ((3, 4, 1), (16, 20, 2))
TOY_ROWS = (32, 100)

ROUND = 2e-3  # seconds: a shorter round would measure the clock
ROUNDS = 7
BUDGET = 20.0  # seconds for all rounds of one case, but at least three rounds


def name(value):
    """The sizes (3, 4, 1) as the name "3→4→1"; anything else as it is."""
    return "→".join(map(str, value)) if isinstance(value, tuple) else str(value)


def data(sizes, n, dtype):
    """X (n, d), Y (n, m), W1 (d+1, h), W2 (h+1, m): quarters in [-1, 1], the same for every run.

    The sums B of such numbers are exact in float32, so no rounding moves one across the kink of the
    ReLU, and reference.error_bounds holds.
    """
    d, h, m = sizes
    rng = np.random.default_rng(0)
    shapes = ((n, d), (n, m), (d + 1, h), (h + 1, m))
    return tuple((rng.integers(-4, 5, shape) / 4).astype(dtype) for shape in shapes)


def measure_pair(benchmark, ours, reference, toy):
    """Time `ours` with pytest-benchmark, and `reference` in turn with it, before each of its rounds.

    Each is called so often in a round that the round lasts ROUND; the benchmark's extra_info holds
    both calls per round, and the seconds of the rounds of `reference`.
    """
    calls, seconds = _calls(ours, toy)
    reference_calls, reference_seconds = _calls(reference, toy)
    rounds = 1 if toy else max(3, min(ROUNDS, int(BUDGET / (seconds + reference_seconds))))
    measured = []

    def reference_round():
        started = time.perf_counter()
        for _ in range(reference_calls):
            reference()
        measured.append((time.perf_counter() - started) / reference_calls)

    def our_round():
        for _ in range(calls):
            ours()

    benchmark.pedantic(our_round, setup=reference_round, rounds=rounds)
    benchmark.extra_info.update(calls=calls, reference_seconds=statistics.median(measured))


def _calls(function, toy):
    """How often to call a function in a round, and how long the round then lasts; warms it up."""
    calls = 1
    while True:
        started = time.perf_counter()
        for _ in range(calls):
            function()
        seconds = time.perf_counter() - started
        if toy or seconds >= ROUND:
            return calls, seconds
        calls *= 2
