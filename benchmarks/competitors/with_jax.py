"""JAX: jit with the state donated; one step in a call, or as many as there are.

One flat array of parameters in place of four took a third off a call. An epoch's order is drawn by NumPy:
XLA would sort random numbers for it, and an epoch of 20640×8→32→1 take 6.2 ms in place of 2.4.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.competitors import common
from benchmarks.competitors.common import BETA1, BETA2, EPS, LEARNING_RATE

jax.config.update("jax_enable_x64", True)


ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def _forward(layers, X, activation):
    *hidden, (w, b) = layers
    for of_hidden, biases in hidden:
        X = ACTIVATIONS[activation](of_hidden @ X + biases)
    return w @ X + b


def _loss(parameters, X, Y, sizes, activation="relu"):
    return jnp.mean((_forward(common.views(parameters, sizes), X, activation) - Y) ** 2)


def _sgd_step(parameters, X, Y, sizes, activation):
    return parameters - LEARNING_RATE * jax.grad(_loss)(parameters, X, Y, sizes, activation)


def _adam_step(state, rows, X, Y, sizes):
    return adam_update(state, jax.grad(_loss)(state[0], X[rows].T, Y[rows].T, sizes))


def adam_update(state, gradient):
    """The state (parameters, both moments, steps taken) after a step."""
    parameters, a, b, taken = state
    a = BETA1 * a + (1 - BETA1) * gradient
    b = BETA2 * b + (1 - BETA2) * gradient**2
    taken += 1
    mean, mean_square = a / (1 - BETA1**taken), b / (1 - BETA2**taken)
    return parameters - LEARNING_RATE * mean / (jnp.sqrt(mean_square) + EPS), a, b, taken


def _matrices(parameters, sizes):
    return common.matrices(common.views(np.asarray(parameters), sizes))


def steps_jit(X, Y, weights, activation):
    """One step in a call."""
    X, Y = jnp.array(common.columns(X)), jnp.array(common.columns(Y))
    parameters, sizes = jnp.array(common.packed(weights)), common.sizes(weights)
    step = jax.jit(partial(_sgd_step, sizes=sizes, activation=activation), donate_argnums=0)

    def train(count):
        nonlocal parameters
        for _ in range(count):
            parameters = step(parameters, X, Y)
        return _matrices(parameters, sizes)

    return train


def steps_scan(X, Y, weights, activation):
    """All steps in one call: fori_loop, as `count` is then no part of what is compiled."""
    X, Y = jnp.array(common.columns(X)), jnp.array(common.columns(Y))
    parameters, sizes = jnp.array(common.packed(weights)), common.sizes(weights)

    @partial(jax.jit, donate_argnums=0)
    def run(parameters, X, Y, count):
        return jax.lax.fori_loop(0, count, lambda _, p: _sgd_step(p, X, Y, sizes, activation), parameters)

    def train(count):
        nonlocal parameters
        parameters = run(parameters, X, Y, count)
        return _matrices(parameters, sizes)

    return train


def _epochs(run_epoch, X, Y, weights, shuffle):
    X, Y = jnp.array(X), jnp.array(Y)
    parameters, sizes = jnp.array(common.packed(weights)), common.sizes(weights)
    state = (parameters, jnp.zeros_like(parameters), jnp.zeros_like(parameters), jnp.zeros((), X.dtype))
    rng = np.random.default_rng(0)
    in_order = np.arange(len(X), dtype=np.int32)

    def train(count):
        nonlocal state
        for _ in range(count):
            state = run_epoch(state, rng.permutation(in_order) if shuffle else in_order, X, Y)
        return _matrices(state[0], sizes)

    return train


def epochs_jit(X, Y, weights, batch, shuffle):
    """One step in a call."""
    step = jax.jit(partial(_adam_step, sizes=common.sizes(weights)), donate_argnums=0)

    def run_epoch(state, order, X, Y):
        for i in range(0, len(order), batch):
            state = step(state, order[i : i + batch], X, Y)
        return state

    return _epochs(run_epoch, X, Y, weights, shuffle)


def epochs_scan(X, Y, weights, batch, shuffle):
    """One epoch in a call."""
    step = partial(_adam_step, sizes=common.sizes(weights))

    @partial(jax.jit, donate_argnums=0)
    def run_epoch(state, order, X, Y):
        whole = len(order) // batch * batch
        batches = order[:whole].reshape(-1, batch)
        state, _ = jax.lax.scan(lambda state, rows: (step(state, rows, X, Y), None), state, batches)
        return step(state, order[whole:], X, Y) if whole < len(order) else state

    return _epochs(run_epoch, X, Y, weights, shuffle)


def predict(X, weights):
    """From an array of JAX's to another, in blocks; the weights are constants of the compiled function."""
    n, d = X.shape
    rows = common.rows_of_block(n, weights[0].shape[1])
    whole = n // rows * rows
    layers = [
        (jnp.array(w), jnp.array(b)) for w, b in common.views(common.packed(weights), common.sizes(weights))
    ]

    def forward(X):
        return _forward(layers, X.T, "relu").T

    @jax.jit
    def run(X):
        blocks = jax.lax.map(forward, X[:whole].reshape(-1, rows, d))
        return jnp.concatenate([blocks.reshape(whole, -1), forward(X[whole:])])

    X = jnp.array(X)
    return lambda: run(X).block_until_ready()
