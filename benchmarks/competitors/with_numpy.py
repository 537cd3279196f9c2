"""NumPy: the formulas of fastmlp.reference, with fewer temporaries and with the biases apart."""

from functools import partial

import numpy as np

from benchmarks.competitors import common
from fastmlp import reference


def _forward(X, layers, activation="relu"):
    """The inputs of each layer for the columns of X, and the raw outputs."""
    inputs = [X]
    for w, b in layers[:-1]:
        X = w @ X
        X += b
        if activation == "relu":
            np.maximum(X, 0, out=X)
        else:
            np.tanh(X, out=X)
        inputs.append(X)
    w, b = layers[-1]
    Z = w @ X
    Z += b
    return inputs, Z


def _slopes(A, activation):
    """The slopes of the activation that has given A."""
    if activation == "relu":
        return A > 0
    slopes = A * A
    return np.subtract(1, slopes, out=slopes)


def _gradient(X, Y, layers, out, activation="relu"):
    """Write the gradient by the weights and biases of each layer into `out`."""
    inputs, delta = _forward(X, layers, activation)
    delta -= Y
    delta *= 2 / delta.size
    for k in range(len(layers) - 1, -1, -1):
        A, (dw, db) = inputs[k], out[k]
        np.matmul(delta, A.T, out=dw)
        np.sum(delta, axis=1, keepdims=True, out=db)
        if k:
            delta = layers[k][0].T @ delta
            delta *= _slopes(A, activation)


def _buffers(weights):
    """Parameters and gradient, each flat and as views."""
    parameters = common.packed(weights)
    gradient = np.empty_like(parameters)
    layers, out = (common.views(buffer, common.sizes(weights)) for buffer in (parameters, gradient))
    return parameters, gradient, layers, out


def steps(X, Y, weights, activation):
    """A loop in Python."""
    X, Y = common.columns(X), common.columns(Y)
    parameters, gradient, layers, out = _buffers(weights)

    def train(count):
        for _ in range(count):
            _gradient(X, Y, layers, out, activation)
            parameters[:] -= common.LEARNING_RATE * gradient
        return common.matrices(layers)

    return train


def epochs(X, Y, weights, batch, shuffle):
    """Batches are views of a permuted copy."""
    n = len(X)
    X, Y = common.columns(X), common.columns(Y)
    parameters, gradient, layers, out = _buffers(weights)
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
                _gradient(x[:, i : i + batch], y[:, i : i + batch], layers, out)
                taken += 1
                adam_step(parameters, gradient, moments, taken)
        return common.matrices(layers)

    return train


def predict(X, weights):
    """In blocks."""
    _, _, layers, _ = _buffers(weights)
    hidden = weights[0].shape[1]
    return common.in_blocks(lambda X: _forward(X.T, layers)[1].T, X, hidden, np.concatenate)
