"""What the sides share: the optimizers' settings, and how most hold data and weights: a row is a column.

For narrow networks, vector instructions then run along the rows of the data. Milliseconds a step of 3→4→1
with 100 000 rows, one thread, the usual way and this way: NumPy 3.7 and 1.3, PyTorch 3.2 and 0.85, JAX
3.1 and 0.34, numba 3.4 and 0.22. Wide networks are about as fast either way.
"""

from functools import partial
from itertools import pairwise

import numpy as np

LEARNING_RATE = 1e-3
BETA1, BETA2 = 0.9, 0.999
EPS = 1e-12  # tiny: scikit-learn adds it to the root of b before it corrects b, the others after


def columns(A):
    """An array (n, k) as an array (k, n)."""
    return np.ascontiguousarray(A.T)


def sizes(weights):
    """(d, …, m) of the weights of each layer, whose last rows are the biases."""
    return (*(len(W) - 1 for W in weights), weights[-1].shape[1])


def packed(weights):
    """The weights in one flat buffer, for `views`."""
    return np.concatenate([part.ravel() for W in weights for part in (W[:-1].T, W[-1])])


def views(buffer, sizes):
    """For each layer its weights (n_out, n_in) and biases (n_out, 1): views into a flat buffer."""
    layers, first = [], 0
    for n_in, n_out in pairwise(sizes):
        last = first + n_in * n_out
        w, b = buffer[first:last], buffer[last : last + n_out]
        layers.append((w.reshape(n_out, n_in), b.reshape(n_out, 1)))
        first = last + n_out
    return layers


def matrices(layers):
    """The weights as (W1, …, WL) again."""
    return [np.vstack([w.T, b.T]) for w, b in layers]


def rows_of_block(n, h):
    """How many of n rows to predict at once, so that the hidden layer stays in cache."""
    return min(n, max(1024, 2**17 // h))


def in_blocks(predict, X, h, concatenate):
    """A function that predicts X, so many rows at once.

    Milliseconds for 10**6 rows of 8→32→1, all at once and in blocks: NumPy 60 and 45, PyTorch 111 and 21,
    torch.compile 116 and 44, ONNX Runtime 44 and 27, JAX (by itself in with_jax.py) 81 and 33.
    """
    rows = rows_of_block(len(X), h)
    blocks = [X[i : i + rows] for i in range(0, len(X), rows)]
    if len(blocks) == 1:
        return partial(predict, X)
    return lambda: concatenate([predict(block) for block in blocks])
