"""numba: the loop over the steps compiled, and in it BLAS products of blocks of rows that stay in cache.

Sums may be reordered and products contracted, as in fastmlp's own kernels: without, loops along the rows
cannot use vector instructions. Loops in place of the products too were a quarter faster at 3→4→1 with 256
rows, about as fast there with more, and slower everywhere else (16→64→1, 256 rows: 37 µs against 15).
"""

import numba
import numpy as np

from benchmarks.competitors import common
from benchmarks.competitors.common import BETA1, BETA2, EPS, LEARNING_RATE

CACHED = 32_768  # numbers of the hidden layer in a block

compiled = numba.njit(fastmath={"reassoc", "contract"})


@compiled
def _views(buffer, sizes):
    """common.views for one hidden layer: the weights w1 (h, d), b1 (h, 1), w2 (m, h), b2 (m, 1)."""
    d, h, m = sizes
    i = h * d
    j = i + h
    k = j + m * h
    return (
        buffer[:i].reshape(h, d),
        buffer[i:j].reshape(h, 1),
        buffer[j:k].reshape(m, h),
        buffer[k:].reshape(m, 1),
    )


def block_width(n, h):
    """How many rows a block has: in measurements 256 (wide networks) to 2048 were best."""
    return min(n, max(256, min(2048, CACHED // h)))


def blocks(A, width):
    """An array (n, k) as one flat array of blocks (k, width), the last one narrower."""
    return np.concatenate([A[i : i + width].T.ravel() for i in range(0, len(A), width)])


@compiled
def _forward(x, weights, C, E):
    """Write C (h, w) and E (m, w) of a block x (d, w)."""
    w1, b1, w2, b2 = weights
    np.dot(w1, x, C)
    for j in range(len(C)):
        c, bias = C[j], b1[j, 0]
        for k in range(len(c)):
            c[k] = max(c[k] + bias, c.dtype.type(0))
    np.dot(w2, C, E)
    for o in range(len(E)):
        e, bias = E[o], b2[o, 0]
        for k in range(len(e)):
            e[k] += bias


@compiled
def _gradient(x, y, weights, out, scale, buffer):
    """Write the gradient of scale / 2 times the squared residuals of a block x (d, w), y (m, w)."""
    _, _, w2, _ = weights
    dw1, db1, dw2, db2 = out
    h, m, w = w2.shape[1], len(w2), x.shape[1]
    zero = x.dtype.type(0)
    C = buffer[: h * w].reshape(h, w)
    dB = buffer[h * w : 2 * h * w].reshape(h, w)
    F = buffer[2 * h * w : (2 * h + m) * w].reshape(m, w)
    _forward(x, weights, C, F)
    for o in range(m):
        f, target, total = F[o], y[o], zero
        for k in range(w):
            f[k] = (f[k] - target[k]) * scale
            total += f[k]
        db2[o, 0] = total
    np.dot(F, C.T, dw2)
    for j in range(h):
        c, db, total = C[j], dB[j], zero
        db[:] = zero
        for o in range(m):
            f, weight = F[o], w2[o, j]
            for k in range(w):
                db[k] += weight * f[k]
        for k in range(w):
            db[k] = db[k] if c[k] > zero else zero
            total += db[k]
        db1[j, 0] = total
    np.dot(dB, x.T, dw1)


@compiled
def _steps(X, Y, n, width, parameters, sizes, count):
    d, h, m = sizes
    gradient, part = np.empty_like(parameters), np.empty_like(parameters)
    weights, out = _views(parameters, sizes), _views(part, sizes)
    buffer = np.empty((2 * h + m) * width, X.dtype)
    scale, learning_rate = X.dtype.type(2 / (n * m)), X.dtype.type(LEARNING_RATE)
    for _ in range(count):
        gradient[:] = 0
        for i in range(0, n, width):
            w = min(width, n - i)
            x, y = X[i * d : (i + w) * d].reshape(d, w), Y[i * m : (i + w) * m].reshape(m, w)
            _gradient(x, y, weights, out, scale, buffer)
            gradient += part
        for k in range(parameters.size):
            parameters[k] -= learning_rate * gradient[k]


def steps(X, Y, weights, activation):
    """The data lie in blocks from the start."""
    n, sizes = len(X), common.sizes(weights)
    parameters = common.packed(weights)
    width = block_width(n, sizes[1])
    X, Y = blocks(X, width), blocks(Y, width)

    def train(count):
        _steps(X, Y, n, width, parameters, sizes, count)
        return common.matrices(common.views(parameters, sizes))

    return train


@compiled
def adam_step(parameters, gradient, moments, taken):
    """Move the parameters; `taken` counts this step too."""
    real = parameters.dtype.type  # a float of Python's would make it all double precision
    beta1, beta2, rest1, rest2, eps = real(BETA1), real(BETA2), real(1 - BETA1), real(1 - BETA2), real(EPS)
    rate = real(LEARNING_RATE / (1 - BETA1**taken))
    correction = real(1 / np.sqrt(1 - BETA2**taken))
    a, b = moments
    for k in range(parameters.size):
        a[k] = beta1 * a[k] + rest1 * gradient[k]
        b[k] = beta2 * b[k] + rest2 * gradient[k] * gradient[k]
        parameters[k] -= rate * a[k] / (np.sqrt(b[k]) * correction + eps)


@compiled
def _gather(A, rows, out):
    for k in range(len(rows)):
        for i in range(len(out)):
            out[i, k] = A[rows[k], i]


@compiled
def _epochs(X, Y, batch, shuffle, parameters, moments, sizes, taken, count):
    n = len(X)
    d, h, m = sizes
    gradient = np.empty_like(parameters)
    weights, out = _views(parameters, sizes), _views(gradient, sizes)
    buffer = np.empty((2 * h + m) * batch, X.dtype)
    xs, ys = np.empty(d * batch, X.dtype), np.empty(m * batch, X.dtype)
    order = np.arange(n)
    for _ in range(count):
        if shuffle:
            np.random.shuffle(order)  # noqa: NPY002 (compiled: numba's own)
        for i in range(0, n, batch):
            rows = order[i : i + batch]
            w = len(rows)
            x, y = xs[: d * w].reshape(d, w), ys[: m * w].reshape(m, w)
            _gather(X, rows, x)
            _gather(Y, rows, y)
            _gradient(x, y, weights, out, X.dtype.type(2 / (w * m)), buffer)
            taken += 1
            adam_step(parameters, gradient, moments, taken)
    return taken


def epochs(X, Y, weights, batch, shuffle):
    """Each batch is gathered into a block."""
    sizes = common.sizes(weights)
    parameters = common.packed(weights)
    moments = np.zeros((2, parameters.size), parameters.dtype)
    taken = 0

    def train(count):
        nonlocal taken
        taken = _epochs(X, Y, batch, shuffle, parameters, moments, sizes, taken, count)
        return common.matrices(common.views(parameters, sizes))

    return train


@compiled
def _predict(X, width, parameters, sizes):
    n = len(X)
    d, h, m = sizes
    weights = _views(parameters, sizes)
    xs, Cs, Es = np.empty(d * width, X.dtype), np.empty(h * width, X.dtype), np.empty(m * width, X.dtype)
    out = np.empty((n, m), X.dtype)
    for i in range(0, n, width):
        w = min(width, n - i)
        x, E = xs[: d * w].reshape(d, w), Es[: m * w].reshape(m, w)
        x[:] = X[i : i + w].T
        _forward(x, weights, Cs[: h * w].reshape(h, w), E)
        out[i : i + w] = E.T
    return out


def predict(X, weights):
    """Each block is transposed as it comes."""
    sizes = common.sizes(weights)
    parameters = common.packed(weights)
    width = block_width(len(X), sizes[1])
    return lambda: _predict(X, width, parameters, sizes)
