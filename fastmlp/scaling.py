"""Standardised features and targets, and folding the scaling into a network's weights.

With x' = (x - mean) / scale for each feature and y' = (y - mean) / scale for each target, a network whose
first and last weights are W_1' and W_L' and that maps x' to y' is, on raw values, the network with

    W_1[:-1] = W_1'[:-1] / scale_x       W_1[-1] = W_1'[-1] - (mean_x / scale_x) W_1'[:-1]
    W_L[:-1] = W_L'[:-1] scale_y         W_L[-1] = W_L'[-1] scale_y + mean_y

whatever is between them. `fold` goes from the primed weights to the raw ones, `unfold` back; both calculate
in float64. (The end of a fit folds in one compiled step: kernels/folding.pxi.) Targets are scaled only where
the objective has a degree (`fastmlp.objectives`).

All is measured on the data as they are given: narrowed to float32 first, 1.7e9 and 1.7e9 + 1 are equal.
"""

from dataclasses import dataclass

import numpy as np

from fastmlp import kernels


@dataclass(frozen=True)
class Scaling:
    """Mean and scale of each feature and each output (float64 arrays), and which features are constant."""

    mean_x: np.ndarray
    scale_x: np.ndarray
    mean_y: np.ndarray
    scale_y: np.ndarray
    constant: np.ndarray


def fit_scaling(X, Y, sample_weight, objective, outputs):
    """Return the Scaling of a data set, over the rows of positive weight.

    Weighted means and standard deviations; a constant column has its value as mean, and a scale of 1.
    """
    mean_x, scale_x, constant = _mean_and_scale(X, sample_weight)
    mean_y, scale_y = np.zeros(outputs), np.ones(outputs)
    if objective.degree is not None:
        mean, scale, _ = _mean_and_scale(Y, sample_weight)
        mean_y[:], scale_y[:] = mean, scale  # of one target for several outputs, too
    return Scaling(mean_x, scale_x, mean_y, scale_y, constant)


def _mean_and_scale(U, w):
    # A column at a time: float64 accuracy without a float64 copy of the whole.
    means, scales, constant = np.empty(U.shape[1]), np.ones(U.shape[1]), np.zeros(U.shape[1], bool)
    counted = None if w is None else w > 0
    for j, column in enumerate(U.T):
        column = (column if counted is None else column[counted]).astype(np.float64)
        constant[j] = (column == column[0]).all()
        if constant[j]:
            means[j] = column[0]
            continue
        # by a power of two, which rounds nothing: no sum or square overflows or vanishes
        exponent = int(np.frexp(np.abs(column).max())[1])
        column = np.ldexp(column, -exponent)
        mean = np.average(column, weights=None if w is None else w[counted])
        deviation = np.sqrt(np.average((column - mean) ** 2, weights=None if w is None else w[counted]))
        means[j] = np.ldexp(mean, exponent)
        scales[j] = np.ldexp(deviation, exponent) or np.finfo(np.float64).smallest_subnormal
    return means, scales, constant


def transform(X, Y, scaling, dtype=None):
    """Return new arrays of X and Y, standardised, in `dtype` (None: their own)."""
    scaled_X = _scaled(X, scaling.mean_x, scaling.scale_x, dtype)
    if (scaling.scale_y == 1).all() and not scaling.mean_y.any():
        return scaled_X, np.array(Y, dtype or Y.dtype, order="C")
    return scaled_X, _scaled(Y, scaling.mean_y, scaling.scale_y, dtype)


def _scaled(U, mean, scale, dtype):
    out = np.empty(U.shape, dtype or U.dtype)
    with np.errstate(over="ignore"):  # what is too large becomes infinity, for a check to report
        for j, column in enumerate(U.T):
            out[:, j] = (column.astype(np.float64) - mean[j]) / scale[j]
    return out


def clear_constant(W1, scaling):
    """Set the weights of constant features to 0, in place: nothing was learnt of their other values.

    Their standardised values are 0 for all rows, so no gradient moves the weights from where they started.
    """
    W1[:-1][scaling.constant] = 0


# |mean| / scale of a column up to which float32, too, holds its differences: folded weights and raw values
# are rounded by eps, and lose some eps times the ratio, in standard deviations; so 1e-11 of a variance.
SAFE_RATIO = 64
NEGLIGIBLE = 1e-8  # of the targets' variance: a loss that is larger by less is rounding, or of no interest


def least_resolved(scaling, dtype):
    """(|mean| / scale, "X" or "y", column) of the column whose differences are smallest against its values.

    The ratio is infinite where values, or the weights that are divided by the scale, are beyond the dtype.
    """
    info = np.finfo(dtype)

    def largest(name, mean, scale, of_interest):
        beyond = (np.abs(mean) + scale > info.max / SAFE_RATIO) | (scale < info.tiny * SAFE_RATIO)
        ratios = np.where(of_interest, np.where(beyond, np.inf, np.abs(mean) / scale), 0)
        return float(ratios.max()), name, int(ratios.argmax())

    return max(
        largest("X", scaling.mean_x, scaling.scale_x, ~scaling.constant),
        largest("y", scaling.mean_y, scaling.scale_y, True),
    )


def is_lost(raw_loss, standardised_loss):
    """Whether a network is worse on raw values than on standardised ones; losses in targets' variances."""
    return not raw_loss <= 1.01 * standardised_loss + NEGLIGIBLE  # NaN is worse


def parts(scaling):
    """The (mean_x, scale_x, mean_y, scale_y) of a Scaling, as the compiled `fold` takes them."""
    return tuple(
        np.ascontiguousarray(part, np.float64)
        for part in (scaling.mean_x, scaling.scale_x, scaling.mean_y, scaling.scale_y)
    )


def fold(weights, scaling):
    """Change the weights of the standardised problem, in place, into those of the raw one."""
    kernels.module(weights[0].dtype).fold(weights[0], weights[-1], *parts(scaling))


def unfold(weights, scaling):
    """Change the weights of the raw problem, in place, into those of the standardised one."""
    first, last = weights[0], weights[-1]
    V = first.astype(np.float64)
    first[:-1] = V[:-1] * scaling.scale_x[:, None]
    first[-1] = V[-1] + scaling.mean_x @ V[:-1]
    V = last.astype(np.float64)
    last[:-1] = V[:-1] / scaling.scale_y
    last[-1] = (V[-1] - scaling.mean_y) / scaling.scale_y
