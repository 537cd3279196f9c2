"""SGD, Adam and AdamW: their hyper-parameters. The steps are in reference.py and, compiled, in kernels.

The memory of an optimizer is an array `moments` (2, size), owned by the trainer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fastmlp import _checks

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


def _check(optimizer, dtype=np.float64):
    """Raise where a hyper-parameter is out of its range, as a dtype has it; used by every optimizer."""
    ranges = {
        "learning_rate": (0, np.inf, {"open_low": True}),
        "momentum": (0, 1, {"open_high": True}),
        "beta1": (0, 1, {"open_high": True}),
        "beta2": (0, 1, {"open_high": True}),
        "eps": (0, np.inf, {"open_low": True}),
        "weight_decay": (0, np.inf, {}),
    }
    for name, value in asdict(optimizer).items():
        if name in ranges:
            low, high, open_ends = ranges[name]
            _checks.number(name, value, low, high, dtype=dtype, **open_ends)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with momentum and Nesterov's look-ahead.

    Parameters
    ----------
    learning_rate : float > 0
    momentum : float in [0, 1)
    nesterov : bool
        Needs a momentum.

    Raises
    ------
    TypeError, ValueError
        A hyper-parameter is out of its range.

    Notes
    -----
    `fastmlp.reference.sgd_step` has the formula, that of PyTorch's SGD.

    Examples
    --------
    >>> SGD(momentum=0.9)
    SGD(learning_rate=0.01, momentum=0.9, nesterov=False)
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    rate_in_velocity: ClassVar[bool] = False  # PyTorch multiplies the velocity by the rate of each step

    def __post_init__(self):
        _check(self)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: needs a momentum > 0, e.g. SGD(momentum=0.9, nesterov=True)")


@dataclass(frozen=True)
class Adam:
    """Adam.

    Parameters
    ----------
    learning_rate : float > 0
    beta1, beta2 : float in [0, 1)
    eps : float > 0

    Raises
    ------
    TypeError, ValueError
        A hyper-parameter is out of its range.

    Notes
    -----
    `fastmlp.reference.adam_step` has the formula, that of PyTorch's Adam.

    Examples
    --------
    >>> Adam()
    Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, eps=1e-08)
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay.

    Parameters
    ----------
    learning_rate : float > 0
    weight_decay : float >= 0
        Each step multiplies every parameter, biases too, by 1 - learning_rate weight_decay.
    beta1, beta2 : float in [0, 1)
    eps : float > 0

    Raises
    ------
    TypeError, ValueError
        A hyper-parameter is out of its range.

    Notes
    -----
    `fastmlp.reference.adam_step` has the formula, that of PyTorch's AdamW.

    Examples
    --------
    >>> AdamW().weight_decay
    0.01
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        _check(self)


Optimizer = SGD | Adam | AdamW
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def resolve(
    optimizer: str | Optimizer, learning_rate: float | None = None, dtype: DTypeLike = np.float64
) -> Optimizer:
    """Return the optimizer that a name or an instance stands for, with this learning rate if given.

    Its hyper-parameters must be in their ranges as `dtype` has them: an `eps` of 1e-46 is 0 in float32.
    """
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        optimizer = OPTIMIZERS[optimizer]()
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"optimizer: must be one of {', '.join(map(repr, OPTIMIZERS))} or an instance of SGD, Adam "
            f"or AdamW, got {optimizer!r}"
        )
    if learning_rate is not None:
        optimizer = replace(optimizer, learning_rate=learning_rate)
    _check(optimizer, dtype)
    return optimizer


def same_memory(one, other):
    """Whether an optimizer can continue with what another one remembers."""
    return isinstance(one, SGD) == isinstance(other, SGD)


def compiled(optimizer, *, penalty, clip_norm, steps, velocity_rate):
    """Return the fields of the struct Optimizer in kernels/optimizers.pxi."""
    fields = {"momentum": 0.0, "nesterov": False, "beta1": 0.0, "beta2": 0.0, "eps": 0.0, "weight_decay": 0.0}
    fields |= vars(optimizer)  # asdict would take a third of a short fit's time
    l2 = {"l2": 0.0, "l2_over_weight": 0.0} | {"l2_over_weight" if penalty.per_row else "l2": penalty.weight}
    fields |= l2 | {"clip_norm": clip_norm or 0.0, "steps": steps, "velocity_rate": velocity_rate}
    fields["rate_in_velocity"] = getattr(optimizer, "rate_in_velocity", False)
    return fields | {"adam": not isinstance(optimizer, SGD)}
