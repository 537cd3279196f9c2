"""How far two correct calculations of a network may lie apart: running error analysis, layer by layer.

A sum of k products in arithmetic of relative precision eps, in any order, is off by at most k eps times the
sum of the absolute products (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). An
error in z becomes one of at most ``largest_slope`` times that in f(z), and of ``largest_curvature`` times
that in f'(z).
"""

import numpy as np

from fastmlp import activations, objectives
from fastmlp.reference.chain import layers, with_ones

FUNCTION = (
    8  # units in the last place that a function of an activation or a loss may be off, its operands' included
)


def error_bounds(
    X,
    y,
    weights,
    *,
    sample_weight=None,
    activation="relu",
    objective="squared_error",
    dtype,
):
    """Bounds of the difference between two correct calculations in `dtype`, element by element.

    Of the gradients they hold where rounding moves no z across a kink of an activation (0, of relu,
    leaky_relu and selu), and no residual across one of a loss (0, of absolute_error and quantile): `"kink"`
    says how near the nearest is.

    Returns
    -------
    dict
        "z" (n, m), "loss" (a float), "gradients" (a tuple of arrays as the weights), float64; and "kink", the
        smallest distance of a z from the kink of its activation, less its error.

    Examples
    --------
    >>> ones = np.ones((1, 1)), np.ones((1, 1)), (np.ones((2, 1)), np.ones((2, 1)))
    >>> bool(error_bounds(*ones, dtype="float32")["z"] < 1e-5)
    True
    """
    eps, tiny = np.finfo(dtype).eps, 64 * float(np.finfo(dtype).smallest_subnormal)
    X, y = np.asarray(X, np.float64), np.reshape(np.asarray(y, np.float64), (len(X), -1))
    weights = [np.asarray(W, np.float64) for W in weights]
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    objective = objectives.resolve(objective)
    names = activations.resolve(activation, len(weights) - 1)
    rows = [activations.ACTIVATIONS[name] for name in names]
    inputs, zs = layers(X, weights, activation)

    error = np.zeros_like(X)
    input_errors, z_errors, kink = [error], [], np.inf
    for l, W in enumerate(weights):
        z_error = (
            error @ np.abs(W[:-1]) + (len(W) + 2) * eps * (with_ones(np.abs(inputs[l])) @ np.abs(W)) + tiny
        )
        z_errors.append(z_error)
        if l < len(rows):
            if rows[l].has_kink:
                kink = min(kink, float(np.min(np.abs(zs[l]) - z_error)))
            error = rows[l].largest_slope * z_error + FUNCTION * eps * np.abs(inputs[l + 1]) + tiny
            input_errors.append(error)

    z_bound, counted = z_errors[-1], w > 0
    inputs, zs, input_errors, z_errors = (
        [each[counted] for each in arrays] for arrays in (inputs, zs, input_errors, z_errors)
    )
    X, y, w = X[counted], y[counted], w[counted]
    raw, share = zs[-1], w / w.sum()
    outputs = raw.shape[1]
    off = z_errors[-1] + FUNCTION * eps * (1 + np.abs(raw) + np.abs(y).max(axis=1, keepdims=True))
    slopes = np.abs(objective.slopes(raw, y))
    moved = [objective.slopes(raw + shift, y) for shift in (off, -off)]
    if objective.link_name == "softmax":  # each slope depends on all outputs
        widest = off.max(axis=1, keepdims=True)
        slope_error = 2 * widest * (slopes + (y if y.shape[1] > 1 else 1)) + 2 * FUNCTION * eps
        steepest = slopes + slope_error
    else:  # of a convex function: between those at the ends
        slope_error = np.maximum(*(np.abs(each - objective.slopes(raw, y)) for each in moved))
        steepest = np.maximum(*map(np.abs, moved))
    slope_error = slope_error + FUNCTION * eps * slopes + tiny
    loss_terms = objective.loss_terms(raw, y)
    loss_errors = (steepest * off).sum(axis=1) + (FUNCTION + outputs + 4) * eps * loss_terms
    loss = share @ loss_errors + (len(X) + 4) * eps * (share @ loss_terms) + tiny

    delta = objective.slopes(raw, y) * share[:, None]
    delta_error = (slope_error + 4 * eps * slopes) * share[:, None] + tiny
    gradients = []
    for l in range(len(weights) - 1, -1, -1):
        a, a_error = with_ones(np.abs(inputs[l])), np.hstack([input_errors[l], np.zeros((len(X), 1))])
        size = np.abs(delta)
        gradients.append(
            a.T @ delta_error + a_error.T @ (size + delta_error) + (len(X) + 6) * eps * (a.T @ size) + tiny
        )
        if l:
            row, z = rows[l - 1], zs[l - 1]
            V = np.abs(weights[l][:-1].T)
            slope = np.abs(row.slope(z))
            of_slope = row.largest_curvature * z_errors[l - 1] + (
                0 if row.largest_curvature == 0 else FUNCTION * eps * np.maximum(slope, 1)
            )
            below = size @ V
            delta_error = (delta_error @ V + (len(V) + 4) * eps * below) * (slope + of_slope)
            delta_error += (below + 0) * of_slope + tiny
            delta = (delta @ weights[l][:-1].T) * row.slope(z)
    return {"z": z_bound, "loss": float(loss), "gradients": tuple(reversed(gradients)), "kink": kink}
