"""The functions of the tables in 50 digits, with mpmath."""

import mpmath
from elementwise_error import IN_DIGITS
from mpmath import mpf

mpmath.mp.dps = 50


FUNCTIONS = IN_DIGITS | {"identity": lambda x: x, "relu": lambda x: max(x, mpf(0))}


def row_loss(objective, z, y):
    """The loss of a row: raw outputs z and targets y, lists of mpf."""
    m, name = len(z), objective.name
    if name == "log_loss":
        classes = [mpf(k == y[0]) for k in range(m)] if len(y) == 1 else y
        smoothing = mpf(objective.label_smoothing)
        total = mpmath.log(sum(map(mpmath.exp, z)))
        return sum(
            (t * (1 - smoothing) + smoothing / m) * (total - a) for t, a in zip(classes, z, strict=True)
        )
    if name == "quantile":
        return (
            sum(max(q * (y[0] - a), (q - 1) * (y[0] - a)) for q, a in zip(objective.levels, z, strict=True))
            / m
        )
    return sum(output_loss(objective, a, t) for a, t in zip(z, y, strict=True)) / m


def output_loss(objective, z, y):
    """The loss of one output, of the objectives that are means over them."""
    name, r = objective.name, z - y
    if name == "squared_error":
        return r * r
    if name == "absolute_error":
        return abs(r)
    if name == "huber":
        delta = mpf(objective.delta)
        return r * r / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2)
    if name == "poisson":
        return mpmath.exp(z) - y * z + (y * mpmath.log(y) - y if y else 0)
    if name == "gamma":
        return y * mpmath.exp(-z) + z - mpmath.log(y) - 1
    smoothing = mpf(objective.label_smoothing)
    t = y * (1 - smoothing) + smoothing / 2
    return t * mpmath.log1p(mpmath.exp(-z)) + (1 - t) * mpmath.log1p(mpmath.exp(z))


def loss(X, Y, weights, w, activation, objective):
    """The weighted loss of a network whose weights are nested lists of mpf; X, Y and w are arrays."""
    total = mpf(0)
    for x, y, weight in zip(X.tolist(), Y.tolist(), w.tolist(), strict=True):
        a = [*map(mpf, x)]
        for layer, W in enumerate(weights):
            z = [sum((v * W[k][j] for k, v in enumerate(a)), start=W[-1][j]) for j in range(len(W[-1]))]
            a = [FUNCTIONS[activation](v) for v in z] if layer < len(weights) - 1 else z
        total += mpf(weight) * row_loss(objective, a, [*map(mpf, y)])
    return total / sum(map(mpf, w.tolist()))
