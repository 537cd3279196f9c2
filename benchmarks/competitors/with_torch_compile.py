"""torch.compile: gradient and optimizer's step in one graph, called through C++ (the option cpp_wrapper).

A step of 3→4→1 with 256 rows takes 56 µs with the option and 71 without; max-autotune changes nothing. Eight
steps unrolled in one graph would take 28 µs each, and 12 s to compile.
"""

import torch

from benchmarks.competitors import with_torch
from benchmarks.competitors.common import BETA1, BETA2, EPS, LEARNING_RATE
from benchmarks.competitors.with_torch import batches, columns, forward, loss, matrices, parameters


def _compiled(function):
    torch.compiler.reset()  # else each call would first be compared with what other cases compiled
    return torch.compile(function, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})


def steps(X, Y, weights, activation):
    """A loop in Python over the compiled step."""
    X, Y = columns(X), columns(Y)
    weights = parameters(weights)

    @_compiled
    def step(weights, X, Y):
        for w, gradient in zip(weights, torch.func.grad(loss)(weights, X, Y, activation), strict=True):
            w.sub_(gradient, alpha=LEARNING_RATE)

    def train(count):
        for _ in range(count):
            step(weights, X, Y)
        return matrices(weights)

    return train


def epochs(X, Y, weights, batch, shuffle):
    """The same; a last, smaller batch is compiled by itself."""
    X, Y = columns(X), columns(Y)
    weights = parameters(weights)
    means, squares = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    taken = torch.zeros((), dtype=torch.float64)

    @_compiled
    def step(weights, means, squares, taken, X, Y):
        taken += 1
        rate, correction = LEARNING_RATE / (1 - BETA1**taken), 1 / (1 - BETA2**taken)
        gradients = torch.func.grad(loss)(weights, X, Y)
        for w, a, b, g in zip(weights, means, squares, gradients, strict=True):
            a.mul_(BETA1).add_(g, alpha=1 - BETA1)
            b.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            w.sub_(rate * a / ((correction * b).sqrt() + EPS))

    def train(count):
        for _ in range(count):
            for x, y in batches(X, Y, batch, shuffle):
                step(weights, means, squares, taken, x, y)
        return matrices(weights)

    return train


def predict(X, weights):
    """From a tensor to a tensor, in blocks; a last, smaller one is compiled by itself."""
    return with_torch.predict(X, weights, _compiled(forward))
