"""The compiled loss and gradients against the same function in NumPy: one full-batch step."""

import numpy as np

import fastmlp
from benchmarks import grid


def bench_loss_and_gradients(benchmark, request, sizes, n, dtype):
    arguments = grid.data(sizes, n, dtype)
    found = fastmlp.kernels.loss_and_gradients(*arguments)
    exact = fastmlp.reference.loss_and_gradients(*(a.astype(np.float64) for a in arguments))
    bounds = fastmlp.reference.error_bounds(*arguments, eps=np.finfo(dtype).eps)
    for ours, theirs, name in zip(found, exact, ("L", "dW1", "dW2"), strict=True):
        assert np.all(np.abs(ours - theirs) <= bounds[name]), name
    grid.measure_pair(
        benchmark,
        lambda: fastmlp.kernels.loss_and_gradients(*arguments),
        lambda: fastmlp.reference.loss_and_gradients(*arguments),
        request.config.getoption("--toy"),
    )
