"""What is added to the loss that is minimised, and left out of the losses that are reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


@dataclass(frozen=True)
class L2:
    """weight/2 times the sum of the squared weights, without the bias rows.

    Parameters
    ----------
    weight : float >= 0
    per_row : bool
        Divide it by the sum of the sample weights of each batch (without any, by its rows), as scikit-learn
        does with its `alpha`.

    Examples
    --------
    >>> L2(0.01)
    L2(weight=0.01, per_row=False)
    """

    weight: float
    per_row: bool = False


def resolve(l2: float | L2) -> L2:
    """Return the penalty that a number or an object stands for."""
    return l2 if isinstance(l2, L2) else L2(l2)


def checked(l2: float | L2, dtype: DTypeLike) -> float | L2:
    """Return l2, a number as a float, if its weight is one >= 0 as a dtype has it."""
    weight = _checks.number("l2", l2.weight if isinstance(l2, L2) else l2, 0, np.inf, dtype=dtype)
    return l2 if isinstance(l2, L2) else weight
