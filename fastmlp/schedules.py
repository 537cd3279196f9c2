"""Schedules of the learning rate. The compiled training loop follows them (kernels/optimizers.pxi).

A schedule gives a factor of the optimizer's learning rate for each step. t is the share of the steps of this
call of `Trainer.fit` that are done, in [0, 1); a new fit begins anew, and `Trainer.resume` continues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from fastmlp import _checks


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is."""

    name: ClassVar[str] = "constant"

    def factor(self, t: float, epoch: int = 0) -> float:
        """Return the factor of the learning rate."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine, from 1 to 0: (1 + cos(pi t)) / 2 (Loshchilov and Hutter, ICLR 2017, without restarts).

    Examples
    --------
    >>> Cosine().factor(0.5)
    0.5
    """

    name: ClassVar[str] = "cosine"

    def factor(self, t: float, epoch: int = 0) -> float:
        """Return the factor of the learning rate."""
        return round((1 + math.cos(math.pi * t)) / 2, 15)


@dataclass(frozen=True)
class Coslog:
    """Cosines whose periods double: (1 - cos(2 pi log2(1 + (2**cycles - 1) t))) / 2.

    The schedule of RealMLP (Holzmüller et al., NeurIPS 2024).

    Parameters
    ----------
    cycles : int

    Examples
    --------
    >>> Coslog().factor(0.0)
    0.0
    """

    name: ClassVar[str] = "coslog"
    cycles: int = 4

    def __post_init__(self):
        _checks.integer("cycles", self.cycles)

    def factor(self, t: float, epoch: int = 0) -> float:
        """Return the factor of the learning rate."""
        return (1 - math.cos(2 * math.pi * math.log2(1 + (2**self.cycles - 1) * t))) / 2


@dataclass(frozen=True)
class Inverse:
    """1 / (1 + epoch)**power.

    Parameters
    ----------
    power : float >= 0

    Examples
    --------
    >>> Inverse().factor(0.5, epoch=3)
    0.5
    """

    name: ClassVar[str] = "inverse"
    power: float = 0.5

    def __post_init__(self):
        _checks.number("power", self.power, 0, math.inf)

    def factor(self, t: float, epoch: int = 0) -> float:
        """Return the factor of the learning rate."""
        return (1 + epoch) ** -self.power


@dataclass(frozen=True)
class Warmup:
    """A rise of the learning rate, step by step, and then another schedule over the other steps.

    Parameters
    ----------
    fraction : float in (0, 1)
        Of the steps.
    then : str or schedule

    Examples
    --------
    >>> Warmup(0.1, "cosine").then
    Cosine()
    """

    fraction: float
    then: str | Constant | Cosine | Coslog | Inverse = Constant()

    def __post_init__(self):
        _checks.number("fraction", self.fraction, 0, 1, open_low=True, open_high=True)
        then = resolve(self.then)
        if isinstance(then, Warmup):
            raise ValueError("then: a Warmup after a Warmup; give one, with the sum of the fractions")
        object.__setattr__(self, "then", then)

    def factor(self, t: float, epoch: int = 0) -> float:
        """Return the factor of the learning rate; in the rise that of its next step's end."""
        if t < self.fraction:
            return t / self.fraction
        return self.then.factor((t - self.fraction) / (1 - self.fraction), epoch)  # type: ignore[union-attr]


Schedule = Constant | Cosine | Coslog | Inverse | Warmup
SCHEDULES: dict[str, type] = {row.name: row for row in (Constant, Cosine, Coslog, Inverse)}


def resolve(schedule: str | Schedule) -> Schedule:
    """Return the schedule that a name or an object stands for.

    Examples
    --------
    >>> resolve("coslog")
    Coslog(cycles=4)
    """
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return SCHEDULES[schedule]()
    if isinstance(schedule, Schedule):
        return schedule
    raise ValueError(
        f"schedule: must be one of {', '.join(map(repr, SCHEDULES))}, or an object of fastmlp.schedules, "
        f"got {schedule!r}"
    )


def compiled(schedule):
    """Return the fields of the struct Schedule in kernels/optimizers.pxi."""
    warmup = 0.0
    if isinstance(schedule, Warmup):
        warmup, schedule = schedule.fraction, schedule.then
    fields = {"cycles": 4.0, "power": 0.5, "warmup": warmup}
    return fields | vars(schedule) | {"shape": list(SCHEDULES).index(schedule.name)}


def described(schedule):
    """Return [name, parameters], as JSON takes it; `from_description` reads it."""
    if isinstance(schedule, Warmup):
        return ["warmup", {"fraction": schedule.fraction, "then": described(schedule.then)}]
    return [schedule.name, dict(vars(schedule))]


def from_description(description):
    """Return the schedule that `described` has written down, or raise ValueError, TypeError or KeyError."""
    name, parameters = description
    if name == "warmup":
        return Warmup(parameters["fraction"], from_description(parameters["then"]))
    return SCHEDULES[name](**parameters)
