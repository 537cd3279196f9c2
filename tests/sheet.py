"""The sheet's network, one hidden layer with ReLU and squared error, by the functions for every depth."""

import numpy as np

from fastmlp import reference


def forward(module, X, W1, W2):
    """The predictions, by `fastmlp.kernels` or `fastmlp.reference`."""
    return module.forward(X, (W1, W2))


def loss_and_gradients(module, X, Y, W1, W2, sample_weight=None):
    """(loss, dW1, dW2), by `fastmlp.kernels` or `fastmlp.reference`."""
    loss, gradients = module.loss_and_gradients(X, Y, (W1, W2), sample_weight=sample_weight)
    return loss, *gradients


def error_bounds(X, Y, W1, W2, sample_weight=None, *, eps):
    """Bounds "E", "L", "dW1" and "dW2" of the nodes of the sheet."""
    dtype = np.float32 if eps == np.finfo(np.float32).eps else np.float64
    bounds = reference.error_bounds(X, Y, (W1, W2), sample_weight=sample_weight, dtype=dtype)
    return {"E": bounds["z"], "L": bounds["loss"]} | dict(
        zip(("dW1", "dW2"), bounds["gradients"], strict=True)
    )
