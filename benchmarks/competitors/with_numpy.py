"""NumPy: the formulas of fastmlp.reference, with fewer temporaries and with the biases apart."""

from functools import partial

import numpy as np

from benchmarks.competitors import common
from fastmlp import reference


def _forward(X, w1, b1, w2, b2):
    """(C, E) of the columns of X."""
    C = w1 @ X
    C += b1
    np.maximum(C, 0, out=C)
    E = w2 @ C
    E += b2
    return C, E


def _gradient(X, Y, weights, out):
    """Write the gradient by each of the four weights into `out`."""
    _, _, w2, _ = weights
    dw1, db1, dw2, db2 = out
    C, F = _forward(X, *weights)
    F -= Y
    F *= 2 / F.size
    np.matmul(F, C.T, out=dw2)
    np.sum(F, axis=1, keepdims=True, out=db2)
    dB = w2.T @ F
    dB *= C > 0
    np.matmul(dB, X.T, out=dw1)
    np.sum(dB, axis=1, keepdims=True, out=db1)


def _buffers(W1, W2):
    """Parameters and gradient, each flat and as views."""
    parameters = common.packed(W1, W2)
    gradient = np.empty_like(parameters)
    weights, out = (common.views(buffer, common.sizes(W1, W2)) for buffer in (parameters, gradient))
    return parameters, gradient, weights, out


def steps(X, Y, W1, W2):
    """A loop in Python."""
    X, Y = common.columns(X), common.columns(Y)
    parameters, gradient, weights, out = _buffers(W1, W2)

    def train(count):
        for _ in range(count):
            _gradient(X, Y, weights, out)
            parameters[:] -= common.LEARNING_RATE * gradient
        return common.matrices(*weights)

    return train


def epochs(X, Y, W1, W2, batch, shuffle):
    """Batches are views of a permuted copy."""
    n = len(X)
    X, Y = common.columns(X), common.columns(Y)
    parameters, gradient, weights, out = _buffers(W1, W2)
    moments = np.zeros((2, parameters.size), parameters.dtype)
    adam_step = partial(
        reference.adam_step,
        learning_rate=common.LEARNING_RATE,
        beta1=common.BETA1,
        beta2=common.BETA2,
        eps=common.EPS,
    )
    rng = np.random.default_rng(0)
    taken = 0

    def train(count):
        nonlocal taken
        for _ in range(count):
            order = rng.permutation(n) if shuffle else slice(None)
            x, y = X[:, order], Y[:, order]
            for i in range(0, n, batch):
                _gradient(x[:, i : i + batch], y[:, i : i + batch], weights, out)
                taken += 1
                adam_step(parameters, gradient, moments, taken)
        return common.matrices(*weights)

    return train


def predict(X, W1, W2):
    """In blocks."""
    _, _, weights, _ = _buffers(W1, W2)
    return common.in_blocks(lambda X: _forward(X.T, *weights)[1].T, X, W1.shape[1], np.concatenate)
