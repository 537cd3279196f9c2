"""One epoch of Adam, batches of 32 in a new order, against the same loop in NumPy."""

from functools import partial

import numpy as np

import fastmlp
from benchmarks import grid

BATCH = 32
EQUAL_STEPS = 5


def bench_epoch(benchmark, request, sizes, n, dtype):
    X, Y, W1, W2 = grid.problem(sizes, n, dtype)
    net = fastmlp.MLP(sizes, dtype=dtype)
    trainer = fastmlp.Trainer(net, "adam", batch_size=BATCH, seed=0)
    rows = min(n, EQUAL_STEPS * BATCH)
    _assert_equal_training(X[:rows], Y[:rows], W1, W2, net.sizes)

    # many epochs in a call, as users train; the time of one is what `seconds` says
    epochs = max(1, 20_000 // n)
    state = _State(W1, W2)
    rng = np.random.default_rng(0)

    def reference_epoch():
        state.epoch(X, Y, rng.permutation(n))

    grid.measure_pair(
        benchmark,
        lambda: trainer.fit(X, Y, epochs=epochs),
        reference_epoch,
        request.config.getoption("--toy"),
    )
    benchmark.extra_info["calls"] *= epochs


class _State:
    """The NumPy side's weights, moments and steps."""

    def __init__(self, W1, W2):
        self.weights = W1.copy(), W2.copy()
        self.moments = np.zeros((2, W1.size + W2.size), W1.dtype)
        self.steps = 0
        hyper = dict(learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8)
        self.step = partial(fastmlp.reference.adam_step, **hyper)

    def epoch(self, X, Y, order):
        batches = (order[i : i + BATCH] for i in range(0, len(order), BATCH))
        self.steps, _ = fastmlp.reference.train_epoch(
            X, Y, self.weights, self.moments, self.steps, self.step, batches
        )


def _assert_equal_training(X, Y, W1, W2, sizes):
    net = fastmlp.MLP(sizes, dtype=X.dtype)
    for W, start in zip(net.weights, (W1, W2), strict=True):
        W[:] = start
    before = net.parameters.copy()
    fastmlp.Trainer(net, "adam", batch_size=BATCH, seed=0).fit(X, Y, epochs=1)
    state = _State(W1, W2)
    n = len(X)
    # with one batch an epoch there is nothing to shuffle
    order = fastmlp.reference.permutation(n, np.random.default_rng(0)) if n > BATCH else np.arange(n)
    state.epoch(X, Y, order)
    found = np.concatenate([W.ravel() for W in state.weights])
    # of the movement of all weights, as Adam's first steps amplify the rounding of a tiny gradient;
    # measured: at most 17 eps over the whole grid
    error = np.linalg.norm(net.parameters - found) / np.linalg.norm(found - before)
    assert error <= 1e3 * np.finfo(X.dtype).eps, error
