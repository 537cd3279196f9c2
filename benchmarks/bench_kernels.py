"""The compiled loss and gradients against the same function in NumPy: one full-batch step."""

import numpy as np

import fastmlp
from benchmarks import grid


def bench_loss_and_gradients(benchmark, request, sizes, n, dtype):
    arguments = grid.data(sizes, n, dtype)
    ours = fastmlp.kernels.loss_and_gradients(*arguments)
    exact = fastmlp.reference.loss_and_gradients(*(a.astype(np.float64) for a in arguments))
    for ours_found, found in zip(ours, exact, strict=True):
        # relative to the whole array: rounding may move a unit across the kink of the ReLU
        error = np.linalg.norm(ours_found - found) / np.linalg.norm(found)
        assert error <= 1e4 * np.finfo(dtype).eps, error
    grid.measure_pair(
        benchmark,
        lambda: fastmlp.kernels.loss_and_gradients(*arguments),
        lambda: fastmlp.reference.loss_and_gradients(*arguments),
        request.config.getoption("--toy"),
    )
