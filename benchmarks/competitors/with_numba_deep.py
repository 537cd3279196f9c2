"""numba with two or more hidden layers of ReLU: a recursion over the layers, which ends in the compiler.

The products and blocks are those of with_numba.py, which has the networks of one hidden layer: by recursion
or by a loop over the layers these take as long where they are wide, and 1.2 to 1.4 times as long where they
are narrow. Loops in place of the product with which a gradient goes back are no faster here.
"""

import numpy as np

from benchmarks.competitors import common, with_numba
from benchmarks.competitors.common import LEARNING_RATE
from benchmarks.competitors.with_numba import compiled


@compiled
def _views(buffer, sizes):
    """common.views, as tuples."""
    n_in, n_out = sizes[0], sizes[1]
    i = n_in * n_out
    j = i + n_out
    layer = ((buffer[:i].reshape(n_out, n_in), buffer[i:j].reshape(n_out, 1)),)
    if len(sizes) == 2:
        return layer
    return layer + _views(buffer[j:], sizes[1:])


@compiled
def _activate(z, biases):
    for j in range(len(z)):
        a, bias = z[j], biases[j, 0]
        for k in range(len(a)):
            a[k] = max(a[k] + bias, a.dtype.type(0))


@compiled
def _residuals(z, y, biases, scale, sums):
    """Of the outputs, in place, scaled; and their sums."""
    for o in range(len(z)):
        f, target, bias, total = z[o], y[o], biases[o, 0], z.dtype.type(0)
        for k in range(len(f)):
            f[k] = (f[k] + bias - target[k]) * scale
            total += f[k]
        sums[o, 0] = total


@compiled
def _slopes(delta, activations, sums):
    """Make the gradient by what a layer gives one by its z, in place; and its sums."""
    zero = delta.dtype.type(0)
    for j in range(len(delta)):
        d, a, total = delta[j], activations[j], zero
        for k in range(len(d)):
            d[k] = d[k] if a[k] > zero else zero
            total += d[k]
        sums[j, 0] = total


@compiled
def _gradient(x, y, layers, out, scale, buffer):
    """Write the gradient of scale / 2 times the squared residuals of a block x (d, w), y (m, w).

    Forward through the first layer, then the layers above, then back: returns the gradient by its z.
    """
    weights, biases = layers[0]
    weights_out, sums = out[0]
    numbers = len(weights) * x.shape[1]
    z = delta = buffer[:numbers].reshape(len(weights), x.shape[1])
    np.dot(weights, x, z)
    if len(layers) == 1:
        _residuals(z, y, biases, scale, sums)
    else:
        _activate(z, biases)
        above = _gradient(z, y, layers[1:], out[1:], scale, buffer[2 * numbers :])
        delta = buffer[numbers : 2 * numbers].reshape(z.shape)
        np.dot(layers[1][0].T, above, delta)
        _slopes(delta, z, sums)
    np.dot(delta, x.T, weights_out)
    return delta


@compiled
def _steps(X, Y, n, width, parameters, sizes, count):
    d, m = sizes[0], sizes[-1]
    gradient, part = np.empty_like(parameters), np.empty_like(parameters)
    layers, out = _views(parameters, sizes), _views(part, sizes)
    buffer = np.empty(2 * np.sum(np.array(sizes[1:])) * width, X.dtype)
    scale, learning_rate = X.dtype.type(2 / (n * m)), X.dtype.type(LEARNING_RATE)
    for _ in range(count):
        gradient[:] = 0
        for i in range(0, n, width):
            w = min(width, n - i)
            x, y = X[i * d : (i + w) * d].reshape(d, w), Y[i * m : (i + w) * m].reshape(m, w)
            _gradient(x, y, layers, out, scale, buffer)
            gradient += part
        for k in range(parameters.size):
            parameters[k] -= learning_rate * gradient[k]


def steps(X, Y, weights, activation):
    """The data lie in blocks from the start."""
    n, sizes = len(X), common.sizes(weights)
    parameters = common.packed(weights)
    width = with_numba.block_width(n, sum(sizes[1:-1]))
    X, Y = with_numba.blocks(X, width), with_numba.blocks(Y, width)

    def train(count):
        _steps(X, Y, n, width, parameters, sizes, count)
        return common.matrices(common.views(parameters, sizes))

    return train
