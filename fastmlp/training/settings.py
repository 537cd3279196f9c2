"""The settings of a Trainer, and the check of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import _checks, kernels, optimizers, penalties, schedules

if TYPE_CHECKING:
    from typing import Self

# of (value, dtype of the network)
CHECKS: dict[str, Callable] = {
    "optimizer": lambda value, dtype: optimizers.resolve(value, dtype=dtype),
    "schedule": lambda value, _: schedules.resolve(value),
    "batch_size": lambda value, _: None if value is None else _checks.integer("batch_size", value),
    "l2": penalties.checked,
    "clip_norm": lambda value, dtype: (
        None if value is None else _checks.number("clip_norm", value, 0, np.inf, open_low=True, dtype=dtype)
    ),
    "shuffle": lambda value, _: bool(value),
    "n_threads": lambda value, _: kernels.threads(value),
    "standardize": lambda value, _: bool(value),
}


@dataclass(frozen=True)
class Settings:
    """The parameters of `Trainer`; a change makes another object."""

    optimizer: optimizers.Optimizer
    schedule: schedules.Schedule
    batch_size: int | None
    l2: float | penalties.L2
    clip_norm: float | None
    shuffle: bool
    n_threads: int
    standardize: bool

    @classmethod
    def checked(cls, dtype: np.dtype, **given: Any) -> Self:
        """Return the settings given, or raise what is wrong with one of them."""
        return cls(**{name: CHECKS[name](value, dtype) for name, value in given.items()})

    def changed(self, dtype: np.dtype, name: str, value: Any) -> Self:
        """Return settings of which one is another, or raise what is wrong with it."""
        return replace(self, **{name: CHECKS[name](value, dtype)})
