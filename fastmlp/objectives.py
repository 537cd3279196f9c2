"""THE table of objectives: a loss on raw outputs, with its link. Their kernels are in kernels/objectives.pxi.

An objective takes raw outputs z (n, m) and targets (n, m), or (n, 1) where a row has one target for several
outputs. Its link makes predictions of raw outputs. Its losses and slopes here, in plain NumPy, are the
specification that the kernels are tested against.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from fastmlp import _checks


def _positive_part(U):
    return np.maximum(U, 0)


def _softmax(raw):
    e = np.exp(raw - raw.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _logistic(raw):
    e = np.exp(-np.abs(raw))
    return np.where(raw >= 0, 1, e) / (1 + e)


@dataclass(frozen=True)
class Objective:
    """What all rows of the table share; each is a subclass.

    Attributes
    ----------
    name : str
    link_name : {"identity", "sorted", "exp", "logistic", "softmax"}
    degree : int or None
        The loss of targets and raw outputs that are c times as large is c**degree times as large, and it does
        not change where both are shifted: such targets can be standardised. None: they cannot.
    slope_factor : float
        Of the slopes, in addition to what the kernel calculates.
    averages_outputs : bool
        Whether the loss of a row is the mean over the outputs; else it is one sum.
    starts_at_log_mean : bool
        Whether training with ``standardize=True`` starts the last bias at the logarithm of the targets' mean.
    """

    name: ClassVar[str]
    link_name: ClassVar[str] = "identity"
    degree: ClassVar[int | None] = None
    slope_factor: ClassVar[float] = 1.0
    averages_outputs: ClassVar[bool] = True
    starts_at_log_mean: ClassVar[bool] = False

    def check_outputs(self, outputs: int) -> None:
        """Raise ValueError where a network of so many outputs does not fit."""

    def target_columns(self, outputs: int, given: int) -> int:
        """How many columns the targets must have, where `given` have come (1 for a vector)."""
        return outputs

    def check_targets(self, argument: str, Y: np.ndarray, outputs: int) -> None:
        """Raise ValueError that names the first row of Y (n, columns) that is no target."""

    def link(self, raw: np.ndarray) -> np.ndarray:
        """Predictions of raw outputs (n, m)."""
        return raw

    def losses(self, raw: np.ndarray, Y: np.ndarray) -> np.ndarray:
        """The loss of each row, (n,)."""
        raise TypeError("an objective of the table is needed")

    def slopes(self, raw: np.ndarray, Y: np.ndarray) -> np.ndarray:
        """The derivatives of `losses` by the raw outputs, (n, m)."""
        raise TypeError("an objective of the table is needed")

    def loss_terms(self, raw: np.ndarray, Y: np.ndarray) -> np.ndarray:
        """The sum of the absolute terms of `losses`, (n,), for error bounds."""
        return self.losses(raw, Y)

    def baseline(self, Y: np.ndarray, outputs: int) -> float:
        """The mean loss where all raw outputs are 0."""
        raw = np.zeros((1, outputs), Y.dtype)
        parts = [Y[i : i + 65536] for i in range(0, len(Y), 65536)]
        with np.errstate(all="ignore"):
            return float(sum(self.losses(raw, part).sum(dtype=np.float64) for part in parts) / len(Y))

    def standardized(self, scale: np.ndarray) -> Objective:
        """The objective for targets that have been divided by `scale` (m,)."""
        return self

    def _of_outputs(self, outputs):
        """A number for each output that the kernel calculates with, or None."""
        return

    def compiled(self, outputs: int, columns: int, scale: np.ndarray | None = None) -> tuple:
        """The argument `objective` of kernels' CompiledNetwork.

        With `scale` (m,) for targets that have been divided by it; losses are reported for those before.
        """
        weights = None
        of_outputs = self._of_outputs(outputs)
        if scale is not None and self.degree is not None:
            weights = tuple((np.broadcast_to(scale, outputs) ** self.degree).tolist())
            of_outputs = self.standardized(scale)._of_outputs(outputs)
        return (
            *(self.name, self.link_name, columns, float(outputs if self.averages_outputs else 1)),
            *(self.slope_factor, 1.0, float(getattr(self, "label_smoothing", 0.0)), of_outputs, weights),
        )


def _check_each(argument, Y, allowed, what):
    """Raise that names the first row of Y with a number that is not allowed (a function of an array)."""
    for first in range(0, len(Y), 2**20):
        bad = ~allowed(Y[first : first + 2**20]).all(axis=1)
        if bad.any():
            row = first + int(np.argmax(bad))
            found = Y[row, 0] if Y.shape[1] == 1 else Y[row]
            raise ValueError(f"{argument}: row {row} is {found}; {what}")


@dataclass(frozen=True)
class SquaredError(Objective):
    """The mean over the outputs of (z - y)**2; y is real.

    Examples
    --------
    >>> SquaredError().losses(np.array([[1.0, 5.0]]), np.array([[2.0, 3.0]]))
    array([2.5])
    """

    name: ClassVar[str] = "squared_error"
    degree: ClassVar[int | None] = 2
    slope_factor: ClassVar[float] = 2.0

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        return np.mean((raw - Y) ** 2, axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m)."""
        return 2 * (raw - Y) / raw.shape[1]

    def baseline(self, Y, outputs):
        """The mean loss where all raw outputs are 0."""
        return float(np.einsum("ij,ij->", Y, Y, dtype=np.float64)) / Y.size


@dataclass(frozen=True)
class AbsoluteError(Objective):
    """The mean over the outputs of abs(z - y), whose minimum is the median; y is real.

    Examples
    --------
    >>> AbsoluteError().losses(np.array([[1.0, 5.0]]), np.array([[2.0, 3.0]]))
    array([1.5])
    """

    name: ClassVar[str] = "absolute_error"
    degree: ClassVar[int | None] = 1

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        return np.mean(np.abs(raw - Y), axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m); 0 where the residual is."""
        return np.sign(raw - Y) / raw.shape[1]


@dataclass(frozen=True)
class Huber(Objective):
    """Quadratic for residuals up to `delta` and linear beyond (Huber, 1964); y is real.

    The mean over the outputs of r**2/2 where abs(r) <= delta, else of delta (abs(r) - delta/2).

    Parameters
    ----------
    delta : float > 0
        In units of y.

    Examples
    --------
    >>> Huber(delta=1.0).losses(np.array([[0.5], [3.0]]), np.zeros((2, 1)))
    array([0.125, 2.5  ])
    """

    delta: float = 1.0
    name: ClassVar[str] = "huber"
    degree: ClassVar[int | None] = 2

    def __post_init__(self):
        delta = _checks.number("delta", self.delta, 0, np.inf, open_low=True)
        object.__setattr__(self, "delta", delta)  # of a NumPy scalar, which no file takes, a float

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        size = np.abs(raw - Y)
        return np.mean(np.where(size > self.delta, self.delta * (size - self.delta / 2), size**2 / 2), axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m)."""
        return np.clip(raw - Y, -self.delta, self.delta) / raw.shape[1]

    def standardized(self, scale):
        """The objective for targets that have been divided by `scale` (m,)."""
        return _HuberOfOutputs(self.delta, tuple((self.delta / np.asarray(scale)).tolist()))

    def _of_outputs(self, outputs):
        return (float(self.delta),) * outputs


@dataclass(frozen=True)
class _HuberOfOutputs(Huber):
    """With a delta for each output."""

    deltas: tuple[float, ...] = ()

    def _of_outputs(self, outputs):
        return self.deltas


@dataclass(frozen=True)
class Quantile(Objective):
    """Quantiles of one target: the mean over the levels of the pinball loss (Koenker and Bassett, 1978).

    An output for each level. The loss is that of the raw outputs as they are; predictions are sorted, so that
    quantiles never cross.

    Parameters
    ----------
    levels : sequence of float in (0, 1), ascending

    Examples
    --------
    >>> Quantile((0.1, 0.9)).losses(np.array([[1.0, 4.0]]), np.array([[2.0]]))
    array([0.15])
    """

    levels: Sequence[float] = (0.5,)
    name: ClassVar[str] = "quantile"
    link_name: ClassVar[str] = "sorted"
    degree: ClassVar[int | None] = 1

    def __post_init__(self):
        levels = (self.levels,) if np.ndim(self.levels) == 0 else self.levels
        levels = tuple(
            _checks.number("levels", level, 0, 1, open_low=True, open_high=True) for level in levels
        )
        if not levels or any(b <= a for a, b in itertools.pairwise(levels)):
            raise ValueError(f"levels: must be ascending numbers between 0 and 1, got {self.levels!r}")
        object.__setattr__(self, "levels", levels)

    def check_outputs(self, outputs):
        """Raise ValueError where a network of so many outputs does not fit."""
        if outputs != len(self.levels):
            raise ValueError(
                f"sizes: the objective {self} has {len(self.levels)} levels, and needs as many outputs, "
                f"got {outputs}"
            )

    def target_columns(self, outputs, given):
        """How many columns the targets must have: 1."""
        return 1

    def link(self, raw):
        """Predictions of raw outputs: sorted."""
        return np.sort(raw, axis=1)

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        levels, r = np.array(self.levels), raw - Y
        return np.mean(np.where(r > 0, (1 - levels) * r, -levels * r), axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m); 0 where the residual is."""
        levels, r = np.array(self.levels), raw - Y
        return np.where(r > 0, 1 - levels, np.where(r < 0, -levels, r)) / raw.shape[1]

    def _of_outputs(self, outputs):
        return tuple(float(level) for level in self.levels)


@dataclass(frozen=True)
class Poisson(Objective):
    """Half the Poisson deviance, mean over the outputs: exp(z) - y z + y log(y) - y; y >= 0.

    Predictions are exp(z).

    Examples
    --------
    >>> Poisson().losses(np.array([[0.0]]), np.array([[1.0]]))
    array([0.])
    """

    name: ClassVar[str] = "poisson"
    link_name: ClassVar[str] = "exp"
    starts_at_log_mean: ClassVar[bool] = True

    def check_targets(self, argument, Y, outputs):
        """Raise ValueError that names the first row of Y that is no target."""
        _check_each(
            argument, Y, lambda part: (part >= 0) & np.isfinite(part), "poisson needs finite targets >= 0"
        )

    def link(self, raw):
        """Predictions of raw outputs."""
        return np.exp(raw)

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        logs = np.log(np.where(Y > 0, Y, 1))
        return np.mean(np.exp(raw) - Y * raw + Y * (logs - 1), axis=1)

    def loss_terms(self, raw, Y):
        """The sum of the absolute terms of `losses`, (n,)."""
        logs = np.log(np.where(Y > 0, Y, 1))
        return np.mean(np.exp(raw) + np.abs(Y * raw) + Y * (np.abs(logs) + 1), axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m)."""
        return (np.exp(raw) - Y) / raw.shape[1]


@dataclass(frozen=True)
class Gamma(Objective):
    """Half the gamma deviance, mean over the outputs: y exp(-z) + z - log(y) - 1; y > 0.

    Predictions are exp(z).

    Examples
    --------
    >>> Gamma().losses(np.array([[0.0]]), np.array([[1.0]]))
    array([0.])
    """

    name: ClassVar[str] = "gamma"
    link_name: ClassVar[str] = "exp"
    starts_at_log_mean: ClassVar[bool] = True

    def check_targets(self, argument, Y, outputs):
        """Raise ValueError that names the first row of Y that is no target."""
        _check_each(
            argument, Y, lambda part: (part > 0) & np.isfinite(part), "gamma needs finite targets > 0"
        )

    def link(self, raw):
        """Predictions of raw outputs."""
        return np.exp(raw)

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        return np.mean((Y * np.exp(-raw) - 1) + (raw - np.log(Y)), axis=1)

    def loss_terms(self, raw, Y):
        """The sum of the absolute terms of `losses`, (n,)."""
        return np.mean(Y * np.exp(-raw) + 1 + np.abs(raw) + np.abs(np.log(Y)), axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m)."""
        return (1 - Y * np.exp(-raw)) / raw.shape[1]


def _keep_smoothing(objective):
    """Check label_smoothing, and keep it as a float."""
    smoothing = _checks.number("label_smoothing", objective.label_smoothing, 0, 1, open_high=True)
    object.__setattr__(objective, "label_smoothing", smoothing)


@dataclass(frozen=True)
class BinaryLogLoss(Objective):
    """The cross-entropy of yes and no, mean over the outputs; y in [0, 1].

    Predictions are probabilities, 1 / (1 + exp(-z)).

    Parameters
    ----------
    label_smoothing : float in [0, 1)
        Targets count as y (1 - s) + s/2.

    Examples
    --------
    >>> BinaryLogLoss().losses(np.array([[0.0]]), np.array([[1.0]])).round(3)
    array([0.693])
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "binary_log_loss"
    link_name: ClassVar[str] = "logistic"

    def __post_init__(self):
        _keep_smoothing(self)

    def check_targets(self, argument, Y, outputs):
        """Raise ValueError that names the first row of Y that is no target."""
        _check_each(
            argument, Y, lambda part: (part >= 0) & (part <= 1), "binary_log_loss needs targets in [0, 1]"
        )

    def link(self, raw):
        """Predictions of raw outputs."""
        return _logistic(raw)

    def _smoothed(self, Y):
        return Y * (1 - self.label_smoothing) + self.label_smoothing / 2

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        Y = self._smoothed(Y)
        rest = np.log1p(np.exp(-np.abs(raw)))
        return np.mean(rest + (1 - Y) * _positive_part(raw) + Y * _positive_part(-raw), axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m)."""
        Y, e = self._smoothed(Y), np.exp(-np.abs(raw))
        return np.where(raw > 0, (1 - Y) - Y * e, e * (1 - Y) - Y) / (1 + e) / raw.shape[1]


@dataclass(frozen=True)
class LogLoss(Objective):
    """The cross-entropy of m >= 2 classes; y (n,) integers 0 … m-1, or (n, m) probabilities.

    Predictions are probabilities, softmax(z).

    Parameters
    ----------
    label_smoothing : float in [0, 1)
        Targets count as y (1 - s) + s/m, of probabilities y.

    Examples
    --------
    >>> LogLoss().losses(np.zeros((1, 2)), np.array([[1]])).round(3)
    array([0.693])
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "log_loss"
    link_name: ClassVar[str] = "softmax"
    averages_outputs: ClassVar[bool] = False

    def __post_init__(self):
        _keep_smoothing(self)

    def check_outputs(self, outputs):
        """Raise ValueError where a network of so many outputs does not fit."""
        if outputs < 2:
            raise ValueError(
                "sizes: log_loss needs an output for each class, at least 2; for one probability use "
                "objective='binary_log_loss'"
            )

    def target_columns(self, outputs, given):
        """How many columns the targets must have: 1 for numbers of classes, or `outputs`."""
        return 1 if given == 1 else outputs

    def check_targets(self, argument, Y, outputs):
        """Raise ValueError that names the first row of Y that is no target."""
        if Y.shape[1] == 1:
            _check_each(
                argument,
                Y,
                lambda part: (part >= 0) & (part < outputs) & (part == np.floor(part)),
                f"log_loss needs the number of a class, an integer from 0 to {outputs - 1}, or "
                f"{outputs} probabilities",
            )
            return
        tolerance = 64 * np.finfo(np.float32).eps * outputs  # float32 probabilities are good in any dtype
        _check_each(
            argument,
            Y,
            lambda part: (
                (part >= 0) & (part <= 1) & (np.abs(part.sum(axis=1, keepdims=True) - 1) <= tolerance)
            ),
            "log_loss needs probabilities that add up to 1, or a vector of the numbers of classes",
        )

    def link(self, raw):
        """Predictions of raw outputs."""
        return _softmax(raw)

    def _probabilities(self, raw, Y):
        if Y.shape[1] == 1:
            Y = (np.arange(raw.shape[1]) == Y).astype(raw.dtype)
        return Y * (1 - self.label_smoothing) + self.label_smoothing / raw.shape[1]

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        T = self._probabilities(raw, Y)
        away = raw - raw.max(axis=1, keepdims=True)
        own = np.where(T == 0, 0, T * np.where(T == 0, 0, away)).sum(axis=1)
        return T.sum(axis=1) * np.log(np.exp(away).sum(axis=1)) - own

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m)."""
        T = self._probabilities(raw, Y)
        return _softmax(raw) * T.sum(axis=1, keepdims=True) - T


ROWS = (SquaredError, AbsoluteError, Huber, Quantile, Poisson, Gamma, BinaryLogLoss, LogLoss)
OBJECTIVES: dict[str, type[Objective]] = {row.name: row for row in ROWS}


def resolve(objective: str | Objective) -> Objective:
    """Return the objective that a name or an object stands for.

    Examples
    --------
    >>> resolve("huber")
    Huber(delta=1.0)
    """
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]()
    if isinstance(objective, Objective) and type(objective) is not Objective:
        return objective
    raise ValueError(
        f"objective: must be one of {', '.join(map(repr, OBJECTIVES))}, or an object of "
        f"fastmlp.objectives, got {objective!r}"
    )


def described(objective: Objective) -> list[Any]:
    """Return [name, parameters], as JSON takes it; `from_description` reads it."""
    return [objective.name, asdict(objective)]


def from_description(description: Any) -> Objective:
    """Return the objective that `described` has written down.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is none.
    """
    name, parameters = description
    if name not in OBJECTIVES:
        raise ValueError(f"objective: {name!r} is none of {', '.join(OBJECTIVES)}")
    return replace(OBJECTIVES[name](), **parameters)


def parse(text: str) -> Objective:
    """Return the objective of a command line: a name, or a name with its parameter after a colon.

    Examples
    --------
    >>> parse("quantile:0.1,0.9")
    Quantile(levels=(0.1, 0.9))
    >>> parse("huber:2.5")
    Huber(delta=2.5)
    """
    name, _, numbers = text.partition(":")
    if name not in OBJECTIVES:
        raise ValueError(f"objective: must be one of {', '.join(OBJECTIVES)}, got {name!r}")
    if not numbers:
        return OBJECTIVES[name]()
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        raise ValueError(
            f"objective: {text!r}: after the colon come numbers, e.g. quantile:0.1,0.9"
        ) from None
    if name == "quantile":
        return Quantile(tuple(values))
    if len(values) > 1 or not asdict(OBJECTIVES[name]()):
        raise ValueError(f"objective: {text!r}: {name} has no such parameter")
    return OBJECTIVES[name](*values)
