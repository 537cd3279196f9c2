"""The steps of the optimizers, the penalty, the order of the rows, and an epoch, in plain NumPy."""

import numpy as np

from fastmlp.reference.chain import loss_and_gradients


def penalty(weights, l2):
    """l2/2 times the sum of the squared weights, biases left out, and its derivatives.

    It is added to the loss that is minimised, and left out of the losses that are reported.

    Examples
    --------
    >>> penalty((np.array([[1.0], [1.0]]), np.ones((2, 1))), 0.5)
    (0.5, (array([[0.5],
           [0. ]]), array([[0.5],
           [0. ]])))
    """
    without_biases = [np.vstack([W[:-1], np.zeros_like(W[-1:])]) for W in weights]
    value = l2 / 2 * sum((W**2).sum() for W in without_biases)
    return float(value), tuple(l2 * W for W in without_biases)


def clipped(gradient, max_norm):
    """The gradient, or where its norm is larger than `max_norm` one of that norm in its direction.

    ``g min(1, max_norm / (|g| + 1e-6))`` over all parameters (Pascanu et al., ICML 2013, in PyTorch's form).

    Examples
    --------
    >>> clipped(np.array([3.0, 4.0]), 1.0).round(3)
    array([0.6, 0.8])
    """
    factor = max_norm / (np.sqrt(np.sum(np.square(gradient, dtype=np.float64))) + 1e-6)
    return gradient if factor >= 1 else gradient * gradient.dtype.type(factor)


def sgd_step(parameters, gradient, moments, step, *, learning_rate, momentum, nesterov):
    """One step of stochastic gradient descent, in place.

    ``v = momentum v + g``, then ``p -= learning_rate v``, with Nesterov's look-ahead
    ``p -= learning_rate (g + momentum v)`` (Sutskever et al., ICML 2013, in PyTorch's form).

    Parameters
    ----------
    parameters, gradient : (size,) array
        `parameters` is changed.
    moments : (2, size) array
        The optimizer's memory, zeros at first; changed. Here row 0 is v.
    step : int
        The steps taken, this one included.
    """
    v = moments[0]
    v *= momentum
    v += gradient
    parameters -= learning_rate * (gradient + momentum * v if nesterov else v)


def adam_step(parameters, gradient, moments, step, *, learning_rate, beta1, beta2, eps, weight_decay=0.0):
    """One step of Adam, or with a `weight_decay` of AdamW, in place.

    ``p *= 1 - learning_rate weight_decay``; ``a = beta1 a + (1 - beta1) g``;
    ``b = beta2 b + (1 - beta2) g**2``;
    ``p -= learning_rate (a / (1 - beta1**t)) / (sqrt(b / (1 - beta2**t)) + eps)``
    (Kingma and Ba, 2015, algorithm 1; Loshchilov and Hutter, 2019, algorithm 2).
    The arguments are those of `sgd_step`; the rows of `moments` are a and b.
    """
    a, b = moments
    parameters *= 1 - learning_rate * weight_decay
    a *= beta1
    a += (1 - beta1) * gradient
    b *= beta2
    b += (1 - beta2) * gradient**2
    mean, mean_square = a / (1 - beta1**step), b / (1 - beta2**step)
    parameters -= learning_rate * mean / (np.sqrt(mean_square) + eps)


def permutation(n, rng):
    """The order in which an epoch takes n rows, from a `numpy.random.Generator`.

    Fisher and Yates: from the last place down, swap with a random place not above it. NumPy draws
    these indices, as the kernels do, by Lemire's method (ACM TOMACS 29(1), 2019), which unlike the
    masked rejection of ``rng.permutation`` takes one draw for almost every index.

    Examples
    --------
    >>> permutation(5, np.random.default_rng(0))
    array([3, 0, 1, 2, 4])
    """
    order = np.arange(n)
    places = np.arange(n - 1, 0, -1)
    for i, j in zip(places, rng.integers(places, dtype=np.uint32, endpoint=True), strict=True):
        order[i], order[j] = order[j], order[i]
    return order


def train_epoch(
    X,
    y,
    weights,
    moments,
    step,
    optimizer_step,
    batches,
    *,
    sample_weight=None,
    activation="relu",
    objective="squared_error",
    l2=0.0,
    clip_norm=np.inf,
):
    """One epoch: a gradient and an optimizer's step for each batch of rows.

    Parameters
    ----------
    X, y, weights, sample_weight, activation, objective
        As in `loss_and_gradients`. The arrays of `weights` are changed.
    moments : (2, size) array
        The optimizer's memory for the parameters in one row: `W_1`, then `W_2`, …. Changed.
    step : int
        Optimizer steps taken before.
    optimizer_step : callable
        ``optimizer_step(parameters, gradient, moments, step)``: `sgd_step` or `adam_step` with
        its hyper-parameters bound.
    batches : iterable of index arrays
        The rows of each batch. A batch whose weights are all zero is passed over.
    l2 : float
        The factor of `penalty`.
    clip_norm : float
        The norm that a gradient, that of the penalty included, is `clipped` to.

    Returns
    -------
    step : int
        Optimizer steps taken, these included.
    loss : float
        Mean loss of the rows as they were seen, each before the step of its batch.
    """
    seen = total = 0.0
    for rows in batches:
        w = np.ones(len(rows), dtype=X.dtype) if sample_weight is None else sample_weight[rows]
        if not w.any():
            continue
        loss, gradients = loss_and_gradients(
            X[rows], y[rows], weights, sample_weight=w, activation=activation, objective=objective
        )
        _, of_penalty = penalty(weights, l2)
        gradient = np.concatenate([(dW + pW).ravel() for dW, pW in zip(gradients, of_penalty, strict=True)])
        parameters = np.concatenate([W.ravel() for W in weights])
        step += 1
        optimizer_step(parameters, clipped(gradient, clip_norm), moments, step)
        first = 0
        for W in weights:
            W.flat = parameters[first : first + W.size]
            first += W.size
        seen += float(w.sum())
        total += float(w.sum()) * loss
    return step, total / seen
