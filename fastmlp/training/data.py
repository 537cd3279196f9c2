"""The one trip of the data: checked, put in order, standardised and fingerprinted, before the loop begins."""

from __future__ import annotations

import math
import weakref
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import _checks, scaling
from fastmlp.io import files

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    _Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # X (n, d), Y (n, columns), weights (n,)

CHECKSUM_DIRECT_BYTES = 2**16  # above, a check sum is that of sums

# of the arrays of the training and the validation data, as messages have them
NAMES = (
    ("X", "y", "sample_weight"),
    ("validation_data[0]", "validation_data[1]", "validation_data[2]"),
)


@dataclass
class FitData:
    """The data of a fit.

    Attributes
    ----------
    given, given_validation : (X, Y, w)
        Checked. With `standardize` X and Y are as they came, which is what the scaling is measured on and
        monitors are told; else they are of the network's dtype.
    training, validation : (X, Y, w)
        What the loop reads, in the network's dtype: standardised, or the same arrays.
    scaling : Scaling or None
    is_first : bool
        Whether the scaling has been measured now.
    names : (feature_names, target_names)
        Of frames; None of other arrays.
    fingerprints : list of Fingerprint or None
        One for each array given, training and validation.
    """

    given: _Arrays
    given_validation: _Arrays | None
    training: _Arrays
    validation: _Arrays | None
    scaling: scaling.Scaling | None
    is_first: bool
    names: tuple
    fingerprints: list[Fingerprint | None]


def prepare(state, X, y, sample_weight, validation_data):
    """Return the FitData of the arguments of `Trainer.fit`; nothing is changed."""
    net, settings = state.network, state.settings
    standardize = settings.standardize
    given, names = _checked(net, (X, y, sample_weight), NAMES[0], standardize)
    if settings.shuffle and len(given[0]) >= 2**32:
        raise ValueError("shuffle: takes fewer than 2**32 rows; train in parts, or with shuffle=False")
    given_validation = None
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            raise ValueError("validation_data: must be (Xv, yv) or (Xv, yv, wv)")
        arrays = (*validation_data, None)[:3]
        given_validation, _ = _checked(net, arrays, NAMES[1], standardize, names)
    training, validation, measured = given, given_validation, None
    if standardize:
        measured = state.scaling or scaling.fit_scaling(*given, net.objective, net.sizes[-1])
        training = _standardised(given, NAMES[0], measured, net)
        validation = given_validation and _standardised(given_validation, NAMES[1], measured, net)
    # with `standardize` the same numbers may come again in another dtype
    dtype = np.float64 if standardize else net.dtype
    arrays = (*given, *(given_validation or (None, None, None)))
    fingerprints = [None if array is None else Fingerprint(array, dtype) for array in arrays]
    is_first = standardize and state.scaling is None
    return FitData(given, given_validation, training, validation, measured, is_first, names, fingerprints)


def _checked(net, arrays, names, as_given, found=(None, None)):
    """The checked (X, Y, w), and the names that the columns of X and Y have, if they are frames."""
    X, x_names = _checks.ordered(names[0], arrays[0], net.feature_names or found[0])
    y, y_names = _checks.ordered(names[1], arrays[1], net.target_names or found[1])
    features, outputs = net.sizes[0], net.sizes[-1]
    checked = _checks.data(
        X, y, arrays[2], net.dtype, features, outputs, net.objective, names, as_given=as_given
    )
    for array, name in zip(checked[:2], names, strict=False):
        _checks.require_finite(name, array)
    # a copy of what lies in the parameters, which change while it is read
    apart = tuple(
        array.copy() if array is not None and np.may_share_memory(array, net.parameters) else array
        for array in checked
    )
    return apart, (x_names, y_names)


def _standardised(given, names, measured, net):
    X, Y, w = given
    objective, outputs = net.objective, net.sizes[-1]
    X, Y = scaling.transform(X, Y, measured, net.dtype)
    _checks.require_finite(f"standardised {names[0]}", X)
    _checks.require_finite(f"standardised {names[1]}", Y)
    if objective.degree is None:  # narrowed alone: 1e-50 is 0 in float32
        objective.check_targets(names[1], Y, outputs)
    return X, Y, w


def log_means(Y, w):
    """The logarithm of the weighted mean of each target; 0 where that is 0."""
    means = np.average(Y, axis=0, weights=w).astype(np.float64)
    return np.log(np.where(means > 0, means, 1))


class Fingerprint:
    """Shape and check sum of an array, calculated when it is asked for: only checkpoints need it."""

    def __init__(self, array: np.ndarray, dtype: DTypeLike) -> None:
        """Of the numbers in a dtype, in which the same ones may come again from another."""
        self._array: Any = weakref.ref(array)
        self._dtype = dtype
        self._shape, self._checksum = list(array.shape), None

    @property
    def value(self) -> list:
        """[shape, check sum]; None for the sum where the array is gone, and nobody had asked."""
        array = self._array()
        if self._checksum is None and array is not None:
            self._checksum = _checksum(np.ascontiguousarray(array, self._dtype))
        return [self._shape, self._checksum]

    def __getstate__(self):
        return self.value

    def __setstate__(self, value):
        self._array = lambda: None
        self._shape, self._checksum = value


def _checksum(array):
    """CRC 32 of the bytes; of a large array that of its bits' sums along the rows and columns of a square.

    CRC 32 alone takes as long as 4 steps of 3-4-1, and this 2 to 6 times less (10**5 x 3 numbers: 278 and
    64 us). Numbers that change places change the sums, too, unless they are made up for it.
    """
    if array.nbytes <= CHECKSUM_DIRECT_BYTES:
        return zlib.crc32(files.little_endian(array))
    bits = array.reshape(-1).view(f"{array.dtype.byteorder}u{array.itemsize}")
    side = math.isqrt(bits.size)
    square, rest = bits[: side * side].reshape(side, side), bits[side * side :]
    sums = np.concatenate([*(square.sum(axis, dtype=f"u{array.itemsize}") for axis in (0, 1)), rest])
    return zlib.crc32(files.little_endian(sums))
