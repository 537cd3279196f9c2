"""Compiled: one pass over the rows, nothing of size rows * units stored; `fastmlp.reference` specifies it.

Each instruction set (baseline, avx2, avx512) has modules from the same source; the best one that the CPU can
run is chosen here, at import. The environment variable ``FASTMLP_ISA`` names another.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks, activations, objectives

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastmlp.objectives import Objective

try:
    from fastmlp.kernels import _cpu
except ImportError as error:
    raise ImportError(
        f"fastmlp's compiled kernels cannot be loaded ({error}). If {os.path.dirname(__file__)} is a "
        "source folder, install it with `pip install -e .`, or start Python in another directory."
    ) from error

ALL_FAST_PATHS = -1  # a bit for each, all set
USUAL_CACHES = 32 << 10, 512 << 10  # the least that CPUs have had since 2017


def _load(isa):
    return {dtype: import_module(f"fastmlp.kernels._{isa}_{dtype}") for dtype in _checks.DTYPES}


def _available(isas):
    """Those of the instruction sets that are compiled in: MSVC compiles the baseline alone."""
    return tuple(isa for isa in isas if PathFinder.find_spec(f"{__name__}._{isa}_float32", __path__))


def _choose(wanted):
    """The instruction set `wanted`, or the fastest one that this CPU can run."""
    if wanted and wanted not in AVAILABLE_ISAS:
        raise ImportError(
            f"FASTMLP_ISA={wanted!r}: not one that this CPU can run; choose from {', '.join(AVAILABLE_ISAS)}"
        )
    return wanted or AVAILABLE_ISAS[-1]


def _caches(stated):
    """The caches as the CPU states them; what it does not state, or a virtual one cannot mean, as usual."""
    return tuple(
        size if usual // 4 <= size <= usual * 64 else usual
        for size, usual in zip(stated, USUAL_CACHES, strict=True)
    )


@contextmanager
def use(
    isa: str | None = None,
    fast_paths: Iterable[str] | None = None,
    caches: tuple[int, int] | None = None,
):
    """Have other kernels, or only some of the fast paths, or other caches in use for a while; for tests.

    Parameters
    ----------
    isa : str, optional
        One of `AVAILABLE_ISAS`; None: the one in use.
    fast_paths : iterable of str, optional
        The names of those that may be used, of `fast_path_names`; None: the ones in use.
    caches : (int, int), optional
        Bytes of a core's first and second level; None: those in use.

    Examples
    --------
    >>> with use(fast_paths=[]):
    ...     forward([[2.0]], ([[1.0], [1.0]], [[1.0], [1.0]]))
    array([[4.]])
    """
    global CACHES, ISA, _modules, _fast_paths, _selection
    before = CACHES, ISA, _modules, _fast_paths
    if isa is not None:
        ISA, _modules = isa, _load(isa)
    if fast_paths is not None:
        _fast_paths = sum(1 << fast_path_names().index(name) for name in fast_paths)
    if caches is not None:
        CACHES = caches
    _selection = object()
    try:
        yield
    finally:
        CACHES, ISA, _modules, _fast_paths = before
        _selection = object()


def fast_path_names() -> tuple[str, ...]:
    """The names of the specialisations (kernels/fast_paths.pxi)."""
    return _modules[_checks.DTYPES[0]].FAST_PATHS


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


AVAILABLE_ISAS = _available(_cpu.features())
ISA = _choose(os.environ.get("FASTMLP_ISA"))
CACHES = _caches(_cpu.caches())
_modules = _load(ISA)
_fast_paths = ALL_FAST_PATHS
_selection = object()  # another one whenever what is in use changes
_default_threads = _threads_from_environment()


def forward(
    X: ArrayLike, weights: Sequence[ArrayLike], *, activation: str | Sequence[str] = "relu"
) -> np.ndarray:
    """The raw outputs, of shape (n, m), in the dtype of the weights.

    Parameters
    ----------
    X : (n, s_0) array_like
        Converted, where need be, to the dtype of the weights.
    weights : sequence of (s_{l-1} + 1, s_l) array_like
        Of each layer; last row: the biases. float32 if all are, else float64.
    activation : str or sequence of str
        Of the hidden layers: one name for all, or one for each (`fastmlp.activations`).

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
    >>> forward([[2.0]], ([[1.0], [1.0]], [[1.0], [1.0]]))
    array([[4.]])
    """
    weights = _checks.layer_weights(weights)
    X = _checks.matrix("X", X, weights[0].dtype, columns=len(weights[0]) - 1)
    network = compiled(_sizes(weights), activations.resolve(activation, len(weights) - 1), weights[0].dtype)
    return network.predict(X, _flat(weights), True, threads()).reshape(len(X), -1)


def loss_and_gradients(
    X: ArrayLike,
    y: ArrayLike,
    weights: Sequence[ArrayLike],
    *,
    sample_weight: ArrayLike | None = None,
    activation: str | Sequence[str] = "relu",
    objective: str | Objective = "squared_error",
) -> tuple[float, tuple[np.ndarray, ...]]:
    """The loss, and its derivatives by each of the weights.

    Parameters
    ----------
    X, weights, activation
        As in `forward`.
    y : (n, m) or (n,) array_like
        Targets, as the objective takes them.
    sample_weight : (n,) array_like, optional
        Weights >= 0, finite and not all zero.
    objective : str or Objective
        A name, or an object of `fastmlp.objectives`.

    Returns
    -------
    loss : float
    gradients : tuple of arrays
        New arrays of the shapes of `weights`, in their dtype.

    Raises
    ------
    TypeError, ValueError
        As in `forward`; also for targets that the objective does not take, and weights that are negative, not
        finite or all zero.

    Examples
    --------
    >>> weights = [[1.0], [1.0]], [[1.0], [1.0]]
    >>> loss, (dW1, dW2) = loss_and_gradients([[2.0]], [[1.0]], weights)
    >>> loss, dW1.ravel(), dW2.ravel()
    (9.0, array([12.,  6.]), array([18.,  6.]))
    """
    weights = _checks.layer_weights(weights)
    objective = objectives.resolve(objective)
    sizes, dtype = _sizes(weights), weights[0].dtype
    objective.check_outputs(sizes[-1])
    X, Y, w = _checks.data(X, y, sample_weight, dtype, sizes[0], sizes[-1], objective)
    names = activations.resolve(activation, len(weights) - 1)
    network = compiled(sizes, names, dtype, objective, Y.shape[1])
    gradient = np.empty(sum(W.size for W in weights), dtype)
    loss = network.loss_and_gradients(X, Y, w, _flat(weights), gradient, threads())
    return loss, split_parameters(gradient, sizes)


def _sizes(weights):
    return len(weights[0]) - 1, *(W.shape[1] for W in weights)


def _flat(weights):
    return np.concatenate([W.ravel() for W in weights])


# Behind the checks: for this module, and those above it that have checked their arguments.


def n_parameters(sizes):
    """Return how many parameters a network has."""
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))


def split_parameters(parameters, sizes):
    """Return (W_1, …, W_L) as views into a flat buffer."""
    weights, first = [], 0
    for n_in, n_out in itertools.pairwise(sizes):
        last = first + (n_in + 1) * n_out
        weights.append(parameters[first:last].reshape(n_in + 1, n_out))
        first = last
    return tuple(weights)


def compiled(sizes, activation_names, dtype, objective=None, columns=1, scale=None, caches=None):
    """The kernels' CompiledNetwork, for targets of so many columns that have been divided by `scale`.

    The size of its blocks, and with it the order of sums, follows `caches`; None: those in use.
    """
    objective = objective or objectives.SquaredError()
    described = objective.compiled(sizes[-1], columns, scale)
    return _modules[dtype].CompiledNetwork(sizes, activation_names, described, _fast_paths, caches or CACHES)


def module(dtype):
    """The module of the kernels in use for a dtype."""
    return _modules[np.dtype(dtype)]


def fit_loop(dtype):
    """The compiled training loop (class FitLoop in fit.pxi) for a dtype."""
    return _modules[dtype].FitLoop
