"""What training consists of, as plain data: a FitState is all that a Trainer holds, and a checkpoint.

The compiled loop (kernels/fit.pxi) writes into these objects by the names of their fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastmlp.network import MLP
    from fastmlp.scaling import Scaling
    from fastmlp.training.data import Fingerprint
    from fastmlp.training.settings import Settings

STOP_REASONS = ("epochs", "patience", "callback", "interrupted", "diverged")


@dataclass
class History:
    """What happened in one call of `Trainer.fit`.

    Attributes
    ----------
    loss : list of float
        For each epoch the loss of the training rows, as they were seen: each batch before its step. In the
        units of the raw targets, without the L2 penalty.
    validation_loss : list of float
        The same for the validation data, after each epoch; empty if there are none.
    seconds : list of float
        Wall time of each epoch. Epochs too short to time one by one share the time of their group.
    monitor : list of float
        What the monitor returned after each epoch; empty without one.
    best_epoch : int or None
        The epoch of the lowest value of the monitor (without one: validation loss; without validation
        data: loss); None if no epoch was finished.
    stop_reason : {"epochs", "patience", "callback", "interrupted", "diverged"} or None
        None while the fit is in progress.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    monitor: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stop_reason: str | None = None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses, as `fastmlp.plot.losses` does (extra ``plot``); return the axes.

        Examples
        --------
        >>> History(loss=[3.0, 2.0, 1.5], best_epoch=2).plot().get_ylabel()
        'loss'
        """
        from fastmlp import plot  # here, as matplotlib is an extra

        return plot.losses(self, ax)


@dataclass
class Fit:
    """A call of `Trainer.fit` that is not over, at the end of an epoch."""

    epochs: int
    patience: int | None
    min_delta: float
    checkpoint_every: int | None
    monitored: bool = False  # judged by a callable, not by the loss
    parameters: np.ndarray | None = None  # (size,) as they are trained: with `standardize` not the network's
    best: np.ndarray | None = None  # (size,) those of the lowest loss
    epoch: int = 0  # epochs done
    best_epoch: int = -1
    best_loss: float = np.inf  # or value of the monitor
    improved_epoch: int = -1  # the last with an improvement of more than min_delta,
    improved_loss: float = np.inf  # and its loss: patience counts from there
    divergence_threshold: float = 0.0  # of the loss; 0: not known yet


@dataclass
class FitState:
    """Everything that training continues from."""

    network: MLP
    settings: Settings
    moments: np.ndarray  # (2, size), the memory of the optimizer
    bit_generator: np.random.BitGenerator  # of the shuffling
    caches: tuple[int, int]  # bytes of the first and second level, which the size of blocks follows
    shares_bit_generator: bool = False  # others may draw from it
    steps: int = 0  # of the optimizer
    velocity_rate: float = 0.0  # the learning rate that the velocity of SGD has in it; 0: none
    scaling: Scaling | None = None  # with `standardize`, measured by the first fit
    published: np.ndarray | None = None  # (2, size): what the network got last, and as it was trained
    fingerprints: list[Fingerprint | None] | None = None  # of the arrays of the last fit
    history: History | None = None  # of the last fit, or of the one in progress
    fit: Fit | None = None  # the one in progress
