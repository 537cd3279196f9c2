"""A network as a chain of layers: the formulas for every depth, activation and objective.

With a_0 = X, and [U, 1] for U with a column of ones appended::

    z_l = [a_{l-1}, 1] W_l              l = 1 … L; the last row of W_l is the bias
    a_l = f_l(z_l)                      l < L; z_L are the raw outputs
    loss = sum_k w_k loss(z_L[k], y_k) / sum_k w_k

and backwards, the derivation of `fastmlp.reference.derivation` once for each layer::

    delta_L     = dloss/dz_L
    dW_l        = [a_{l-1}, 1]' delta_l
    delta_{l-1} = (delta_l W_l[:-1]') * f'_{l-1}(z_{l-1})

The bias row of W_l has no unit below it, and is left out. Rows of weight 0 are left out, whatever they hold.
Arrays are (n, s_0), (n, s_L) and (s_{l-1} + 1, s_l); the shapes of y are the objective's.
"""

from collections.abc import Sequence

import numpy as np

from fastmlp import activations, objectives


def with_ones(U):
    """[U, 1]."""
    return np.hstack([U, np.ones((len(U), 1), dtype=U.dtype)])


# OpenBLAS's float32 matrix-vector product reads past its operand in unused lanes (seen with NumPy 2.4.6 for
# (3, 5) @ (5, 1), after the stack had been filled with signalling NaNs): the result is right, and yet NumPy
# now and then warns of an invalid value.
no_false_alarm = np.errstate(invalid="ignore")


@no_false_alarm
def layers(X, weights, activation="relu"):
    """(inputs, zs): a_{l-1} and z_l of each layer, two lists of arrays."""
    inputs, zs = [X], []
    names = activations.resolve(activation, len(weights) - 1)
    for l, W in enumerate(weights):
        zs.append(with_ones(inputs[-1]) @ W)
        if l < len(names):
            inputs.append(np.asarray(activations.ACTIVATIONS[names[l]].value(zs[-1]), zs[-1].dtype))
    return inputs, zs


def forward(
    X: np.ndarray, weights: Sequence[np.ndarray], *, activation: str | Sequence[str] = "relu"
) -> np.ndarray:
    """The raw outputs z_L, of shape (n, m).

    Examples
    --------
    >>> forward(np.array([[2.0]]), (np.array([[1.0], [1.0]]), np.ones((2, 1))))
    array([[4.]])
    """
    return layers(X, weights, activation)[1][-1]


@no_false_alarm
def loss_and_gradients(
    X: np.ndarray,
    y: np.ndarray,
    weights: Sequence[np.ndarray],
    *,
    sample_weight: np.ndarray | None = None,
    activation: str | Sequence[str] = "relu",
    objective: str | objectives.Objective = "squared_error",
) -> tuple[float, tuple[np.ndarray, ...]]:
    """The loss, and its derivatives by each of the weights.

    Returns
    -------
    loss : float
    gradients : (dW_1, …, dW_L)

    Examples
    --------
    >>> weights = np.array([[1.0], [1.0]]), np.ones((2, 1))
    >>> loss_and_gradients(np.array([[2.0]]), np.array([[1.0]]), weights)
    (9.0, (array([[12.],
           [ 6.]]), array([[18.],
           [ 6.]])))
    """
    objective = objectives.resolve(objective)
    y = np.reshape(y, (len(X), -1))
    w = np.ones(len(X), dtype=X.dtype)
    if sample_weight is not None:
        w = np.asarray(sample_weight)
        counted = w != 0  # NaN stays
        X, y, w = X[counted], y[counted], w[counted]
    inputs, zs = layers(X, weights, activation)
    names = activations.resolve(activation, len(weights) - 1)
    loss = w @ objective.losses(zs[-1], y) / w.sum()
    delta = np.asarray(objective.slopes(zs[-1], y), X.dtype) * (w / w.sum())[:, None]
    gradients = []
    for l in range(len(weights) - 1, -1, -1):
        gradients.append(with_ones(inputs[l]).T @ delta)
        if l:
            slope = activations.ACTIVATIONS[names[l - 1]].slope(zs[l - 1])
            below = delta @ weights[l][:-1].T
            # where the slope is 0 so is delta, and NaN in z stays NaN
            delta = np.where(slope == 0, np.zeros((), below.dtype), below * slope).astype(X.dtype)
    return float(loss), tuple(reversed(gradients))
