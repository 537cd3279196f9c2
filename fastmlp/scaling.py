"""Standardised features and targets, and folding the scaling into a network's weights.

With x' = (x - mean) / scale for each feature and y' = (y - mean) / scale for each target, a network
(W1', W2') that maps x' to y' is, on raw values, the network (W1, W2) with

    W1[:d] = W1'[:d] / scale_x       W1[d] = W1'[d] - (mean_x / scale_x) W1'[:d]
    W2[:h] = W2'[:h] scale_y         W2[h] = W2'[h] scale_y + mean_y

`fold` goes from the primed weights to the raw ones, `unfold` back; both calculate in float64.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scaling:
    """Mean and scale of each feature and each target; float64 arrays."""

    mean_x: np.ndarray
    scale_x: np.ndarray
    mean_y: np.ndarray
    scale_y: np.ndarray


def measure(X, Y, sample_weight=None):
    """Return the Scaling of a data set: weighted means and standard deviations, 1 for a constant."""
    return Scaling(*_moments(X, sample_weight), *_moments(Y, sample_weight))


def _moments(U, w):
    # A column at a time: float64 accuracy without a float64 copy of the whole.
    means, scales = np.empty(U.shape[1]), np.empty(U.shape[1])
    for j, column in enumerate(U.T):
        column = column.astype(np.float64)
        means[j] = np.average(column, weights=w)
        scales[j] = np.sqrt(np.average((column - means[j]) ** 2, weights=w))
    # rounding leaves a constant column with a deviation of some eps * mean
    constant = scales <= 1e-14 * np.abs(means)
    return means, np.where(constant, 1.0, scales)


def standardised(X, Y, scaling):
    """Return new arrays of X and Y, standardised, in their dtype."""
    return _scaled(X, scaling.mean_x, scaling.scale_x), _scaled(Y, scaling.mean_y, scaling.scale_y)


def _scaled(U, mean, scale):
    out = np.empty_like(U)
    for j, column in enumerate(U.T):
        out[:, j] = (column.astype(np.float64) - mean[j]) / scale[j]
    return out


def fold(W1, W2, scaling):
    """Change the weights of the standardised problem, in place, into those of the raw one."""
    V1, V2 = W1.astype(np.float64), W2.astype(np.float64)
    W1[:-1] = V1[:-1] / scaling.scale_x[:, None]
    W1[-1] = V1[-1] - (scaling.mean_x / scaling.scale_x) @ V1[:-1]
    W2[:-1] = V2[:-1] * scaling.scale_y
    W2[-1] = V2[-1] * scaling.scale_y + scaling.mean_y


def unfold(W1, W2, scaling):
    """Change the weights of the raw problem, in place, into those of the standardised one."""
    V1, V2 = W1.astype(np.float64), W2.astype(np.float64)
    W1[:-1] = V1[:-1] * scaling.scale_x[:, None]
    W1[-1] = V1[-1] + scaling.mean_x @ V1[:-1]
    W2[:-1] = V2[:-1] / scaling.scale_y
    W2[-1] = (V2[-1] - scaling.mean_y) / scaling.scale_y
