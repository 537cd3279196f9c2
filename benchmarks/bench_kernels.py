"""The compiled loss and gradients against the same function in NumPy: one full-batch step."""

import numpy as np

import fastmlp
from benchmarks import grid


def bench_loss_and_gradients(benchmark, request, sizes, n, dtype):
    X, Y, *weights = grid.data(sizes, n, dtype)
    loss, gradients = fastmlp.kernels.loss_and_gradients(X, Y, weights)
    exact_loss, exact_gradients = fastmlp.reference.loss_and_gradients(
        X.astype(np.float64), Y.astype(np.float64), [W.astype(np.float64) for W in weights]
    )
    bounds = fastmlp.reference.error_bounds(X, Y, weights, dtype=dtype)
    assert abs(loss - exact_loss) <= bounds["loss"]
    for ours, theirs, bound in zip(gradients, exact_gradients, bounds["gradients"], strict=True):
        assert np.all(np.abs(ours - theirs) <= bound)
    grid.measure_pair(
        benchmark,
        lambda: fastmlp.kernels.loss_and_gradients(X, Y, weights),
        lambda: fastmlp.reference.loss_and_gradients(X, Y, weights),
        request.config.getoption("--toy"),
    )
