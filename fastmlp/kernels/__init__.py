"""The functions of `fastmlp.reference`, compiled: one pass over the rows, nothing of size n*h stored.

Each build (baseline, avx2, avx512) is the same source, compiled for one instruction set; the best one
that the CPU can run is chosen here, at import. The environment variable ``FASTMLP_ISA`` names another.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

try:
    from fastmlp.kernels import _cpu
except ImportError as error:
    raise ImportError(
        f"fastmlp's compiled kernels cannot be loaded ({error}). If {os.path.dirname(__file__)} is a "
        "source folder, install it with `pip install -e .`, or start Python in another directory."
    ) from error


def _load(build):
    return {dtype: import_module(f"fastmlp.kernels._{build}_{dtype}") for dtype in _checks.DTYPES}


def _usable(builds):
    """Those of the builds that are compiled in: MSVC compiles the baseline alone."""
    return tuple(build for build in builds if PathFinder.find_spec(f"{__name__}._{build}_float32", __path__))


def _choose(wanted):
    """(name, modules by dtype) of the build `wanted`, or of the fastest one for this CPU."""
    if wanted and wanted not in USABLE:
        raise ImportError(
            f"FASTMLP_ISA={wanted!r}: not a build that this CPU can run; choose from {', '.join(USABLE)}"
        )
    build = wanted or USABLE[-1]
    return build, _load(build)


def threads(n_threads: int | None = None) -> int:
    """Return the number of threads that `n_threads` asks for; None: what the environment says, or 1."""
    if n_threads is None:
        return _default_threads
    return _checks.integer("n_threads", n_threads)


def _threads_from_environment():
    text = os.environ.get("FASTMLP_NUM_THREADS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ImportError(f"FASTMLP_NUM_THREADS={text!r}: must be a whole number, at least 1")
    return int(text)


USABLE = _usable(_cpu.features())
BUILD, _modules = _choose(os.environ.get("FASTMLP_ISA"))
_default_threads = _threads_from_environment()


def forward(X: ArrayLike, W1: ArrayLike, W2: ArrayLike) -> np.ndarray:
    """The predictions E, of shape (n, m), in the dtype of the weights.

    Parameters
    ----------
    X : (n, d) array_like
        Converted, where need be, to the dtype of the weights.
    W1 : (d+1, h) array_like
        Last row: the biases of the hidden units. float32 if both matrices are, else float64.
    W2 : (h+1, m) array_like
        Last row: the biases of the outputs.

    Returns
    -------
    (n, m) array
        A new array. NaN in a row of `X` gives NaN in its row.

    Raises
    ------
    TypeError, ValueError
        An argument is not an array of real numbers, or of the wrong shape; the message names it.

    Examples
    --------
    >>> forward([[2.0]], [[1.0], [1.0]], [[1.0], [1.0]])
    array([[4.]])
    """
    W1, W2 = _checks.weights(W1, W2)
    X = _checks.matrix("X", X, W1.dtype, columns=len(W1) - 1)
    return _forward(X, W1, W2)


def loss_and_gradients(
    X: ArrayLike, Y: ArrayLike, W1: ArrayLike, W2: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss L, and its derivatives by `W1` and `W2`.

    Parameters
    ----------
    X, W1, W2
        As in `forward`.
    Y : (n, m) array_like
        Targets; for m = 1 also (n,).
    sample_weight : (n,) array_like, optional
        Weights >= 0, finite and not all zero.

    Returns
    -------
    loss : float
    dW1 : (d+1, h) array
    dW2 : (h+1, m) array
        New arrays, in the dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        As in `forward`; also for weights that are negative, not finite or all zero.

    Examples
    --------
    >>> loss, dW1, dW2 = loss_and_gradients([[2.0]], [[1.0]], [[1.0], [1.0]], [[1.0], [1.0]])
    >>> loss, dW1.ravel(), dW2.ravel()
    (9.0, array([12.,  6.]), array([18.,  6.]))
    """
    W1, W2 = _checks.weights(W1, W2)
    names = ("X", "Y", "sample_weight")
    data = _checks.data(X, Y, sample_weight, W1.dtype, len(W1) - 1, W2.shape[1], names)
    return _loss_and_gradients(*data, W1, W2)


# Behind the checks: for this module, and those above it that have checked their arguments.


def _forward(X, W1, W2, n_threads=None):
    out = np.empty((len(X), W2.shape[1]), dtype=W1.dtype)
    _modules[W1.dtype].forward(X, W1, W2, out, threads(n_threads))
    return out


def _predict_few(X, parameters, sizes):
    return _modules[parameters.dtype].predict_few(X, parameters, *sizes)


def _loss(X, Y, w, W1, W2):
    return _modules[W1.dtype].loss_and_gradients(X, Y, w, W1, W2, None, None, threads())


def _loss_and_gradients(X, Y, w, W1, W2):
    dW1, dW2 = np.empty_like(W1), np.empty_like(W2)
    loss = _modules[W1.dtype].loss_and_gradients(X, Y, w, W1, W2, dW1, dW2, threads())
    return loss, dW1, dW2


def _fit_loop(dtype):
    """The compiled training loop (class FitLoop in fit.pxi) for a dtype."""
    return _modules[dtype].FitLoop
