"""numba and JAX as they are usually written: a row of the data is a row in memory, its batch a few of them.

Beside the best forms we found (with_numba.py, with_jax.py), these say what a user gets who writes down the
formulas: loops over the rows in numba, `relu(X @ W1 + b1) @ W2 + b2` and a random permutation in JAX.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numba
import numpy as np

from benchmarks.competitors import common, with_jax, with_numba
from benchmarks.competitors.common import LEARNING_RATE
from fastmlp import kernels

_compiled = numba.njit(fastmath={"reassoc", "contract"})


def _matrices(parameters, sizes):
    """(W1, …, WL), views into a flat buffer."""
    return kernels.split_parameters(parameters, sizes)


@_compiled
def _views(parameters, sizes):
    """The same for one hidden layer."""
    d, h, m = sizes
    i = (d + 1) * h
    return parameters[:i].reshape(d + 1, h), parameters[i:].reshape(h + 1, m)


@_compiled
def _gradient(X, Y, rows, weights, out, c, e):
    """Write the gradient of the mean squared error of some rows."""
    W1, W2 = weights
    dW1, dW2 = out
    n, d = len(rows), X.shape[1]
    h, m = len(c), len(e)
    zero, scale = X.dtype.type(0), X.dtype.type(2 / (n * m))
    dW1[:] = 0
    dW2[:] = 0
    for i in rows:
        c[:] = W1[d]
        for k in range(d):
            x = X[i, k]
            for j in range(h):
                c[j] += x * W1[k, j]
        e[:] = W2[h]
        for j in range(h):
            c[j] = max(c[j], zero)
            for o in range(m):
                e[o] += c[j] * W2[j, o]
        for o in range(m):
            e[o] = (e[o] - Y[i, o]) * scale
            dW2[h, o] += e[o]
        for j in range(h):
            total = zero
            for o in range(m):
                dW2[j, o] += c[j] * e[o]
                total += W2[j, o] * e[o]
            c[j] = total if c[j] > zero else zero
            dW1[d, j] += c[j]
        for k in range(d):
            x = X[i, k]
            for j in range(h):
                dW1[k, j] += x * c[j]


@_compiled
def _steps(X, Y, parameters, sizes, count):
    gradient = np.empty_like(parameters)
    weights, out = _views(parameters, sizes), _views(gradient, sizes)
    c, e = np.empty(sizes[1], X.dtype), np.empty(sizes[2], X.dtype)
    rows, rate = np.arange(len(X)), X.dtype.type(LEARNING_RATE)
    for _ in range(count):
        _gradient(X, Y, rows, weights, out, c, e)
        for k in range(parameters.size):
            parameters[k] -= rate * gradient[k]


@_compiled
def _epochs(X, Y, batch, shuffle, parameters, moments, sizes, taken, count):
    gradient = np.empty_like(parameters)
    weights, out = _views(parameters, sizes), _views(gradient, sizes)
    c, e = np.empty(sizes[1], X.dtype), np.empty(sizes[2], X.dtype)
    order = np.arange(len(X))
    for _ in range(count):
        if shuffle:
            np.random.shuffle(order)  # noqa: NPY002 (compiled: numba's own)
        for i in range(0, len(X), batch):
            _gradient(X, Y, order[i : i + batch], weights, out, c, e)
            taken += 1
            with_numba.adam_step(parameters, gradient, moments, taken)
    return taken


def _packed(weights):
    return np.concatenate([W.ravel() for W in weights])


def numba_steps(X, Y, weights, activation):
    """Loops over the rows and, inside, over the hidden units."""
    parameters, sizes = _packed(weights), common.sizes(weights)

    def train(count):
        _steps(X, Y, parameters, sizes, count)
        return _matrices(parameters, sizes)

    return train


def numba_epochs(X, Y, weights, batch, shuffle):
    """The rows of a batch are read where they are."""
    parameters, sizes = _packed(weights), common.sizes(weights)
    moments = np.zeros((2, parameters.size), parameters.dtype)
    taken = 0

    def train(count):
        nonlocal taken
        taken = _epochs(X, Y, batch, shuffle, parameters, moments, sizes, taken, count)
        return _matrices(parameters, sizes)

    return train


def _loss(parameters, X, Y, sizes, activation):
    *hidden, last = _matrices(parameters, sizes)
    a = X
    for W in hidden:
        a = with_jax.ACTIVATIONS[activation](a @ W[:-1] + W[-1])
    return jnp.mean((a @ last[:-1] + last[-1] - Y) ** 2)


def jax_steps(X, Y, weights, activation):
    """All steps in one call."""
    X, Y = jnp.array(X), jnp.array(Y)
    parameters, sizes = jnp.array(_packed(weights)), common.sizes(weights)

    @partial(jax.jit, donate_argnums=0)
    def run(parameters, X, Y, count):
        def step(_, parameters):
            return parameters - LEARNING_RATE * jax.grad(_loss)(parameters, X, Y, sizes, activation)

        return jax.lax.fori_loop(0, count, step, parameters)

    def train(count):
        nonlocal parameters
        parameters = run(parameters, X, Y, count)
        return _matrices(np.asarray(parameters), sizes)

    return train


def jax_epochs(X, Y, weights, batch, shuffle):
    """One epoch in a call, its order drawn by JAX."""
    X, Y = jnp.array(X), jnp.array(Y)
    parameters, sizes = jnp.array(_packed(weights)), common.sizes(weights)
    n, whole = len(X), len(X) // batch * batch
    state = (parameters, jnp.zeros_like(parameters), jnp.zeros_like(parameters), jnp.zeros((), X.dtype))
    key = jax.random.key(0)

    def step(state, rows, X, Y):
        gradient = jax.grad(_loss)(state[0], X[rows], Y[rows], sizes, "relu")
        return with_jax.adam_update(state, gradient), None

    @partial(jax.jit, donate_argnums=0)
    def run_epoch(state, key, X, Y):
        order = jax.random.permutation(key, n) if shuffle else jnp.arange(n)
        batches = order[:whole].reshape(-1, batch)
        state, _ = jax.lax.scan(lambda state, rows: step(state, rows, X, Y), state, batches)
        return step(state, order[whole:], X, Y)[0] if whole < n else state

    def train(count):
        nonlocal state, key
        for _ in range(count):
            key, used = jax.random.split(key)
            state = run_epoch(state, used, X, Y)
        return _matrices(np.asarray(state[0]), sizes)

    return train
