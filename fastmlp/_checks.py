"""Every check of an argument: what it must be, and what to do where it is not.

Anything with ``__array__``, the buffer protocol or DLPack is taken. A C-contiguous, aligned array of
the wanted dtype in native byte order is used as it is; any other is converted, once. float16,
integers and booleans are converted like the other floats; what NumPy could only convert by losing
something (masks, complex parts, fields, the tail of a long double) is an error.
"""

import itertools
import operator
import sys

import numpy as np

from fastmlp import _frames

AT_ONCE = 2**24  # numbers in one call of NumPy, which no signal ends: some 20 ms
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def dtype_of_network(dtype):
    """Return float32 or float64 as a NumPy dtype."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if dtype is None or found not in DTYPES:
        raise ValueError(f"dtype: must be 'float32' or 'float64', got {dtype!r}")
    return found


def integer(name, value):
    """Return value as an int that is at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: must be an integer, got {type(value).__name__}") from None
    if not 1 <= number <= sys.maxsize:
        raise ValueError(f"{name}: must be at least 1 (and at most {sys.maxsize}), got {number}")
    return number


def number(name, value, low, high, *, open_low=False, open_high=False, dtype=np.float64):
    """Return value as a finite float from low to high (inclusive, unless open), also as a dtype has it."""
    try:
        x = float(value)
    except (TypeError, ValueError):
        x = None
    if x is None or isinstance(value, str | bytes | bytearray):  # float reads text too
        raise TypeError(f"{name}: must be a number, got {type(value).__name__}")
    rounded = x
    if dtype is not np.float64 and x is not None:
        with np.errstate(over="ignore"):
            rounded = float(np.dtype(dtype).type(x))
    inside = (rounded > low if open_low else rounded >= low) and (
        rounded < high if open_high else rounded <= high
    )
    if not inside or not np.isfinite(rounded):
        brackets = f"{'(' if open_low else '['}{low}, {high}{')' if open_high or high == np.inf else ']'}"
        found = (
            repr(value) if rounded == x or x != x else f"{value!r}, which is {rounded:g} in {np.dtype(dtype)}"
        )
        raise ValueError(f"{name}: must be a finite number in {brackets}, got {found}")
    return x


def random_generator(seed):
    """Return numpy.random.default_rng(seed); what it does not take is an error that names the argument."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"seed: must be an integer >= 0, several, a numpy.random.Generator or None, got {seed!r}"
        ) from None


def names(name, value, *counts):
    """Return value as a tuple of different strings, as many as one of `counts`; None stays None."""
    if value is None:
        return None
    strings = () if isinstance(value, str | bytes) else tuple(value) if np.iterable(value) else ()
    if not all(isinstance(string, str) for string in strings) or len(strings) not in counts:
        count = " or ".join(map(str, counts))
        raise ValueError(f"{name}: must be {count} strings (or None), one for each column, got {value!r}")
    if len(set(strings)) < len(strings):
        raise ValueError(f"{name}: must be different from each other, got {value!r}")
    return tuple(str(string) for string in strings)  # of numpy.str_, too


def _real(name, value):
    """Return value as an array of real numbers, in whatever layout it has."""
    if type(value) is np.ndarray and value.dtype in DTYPES:
        return value  # nothing below applies
    if value is None:
        raise TypeError(f"{name}: an array is needed, got None")
    if _frames.is_frame(value):
        return _frames.read(name, value)
    if _frames.is_series(value):
        return _frames.read_column(name, value)
    if hasattr(value, "toarray"):
        raise TypeError(f"{name}: a sparse matrix; give {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array; fill its gaps first, e.g. with {name}.filled(0)")
    try:
        # a DLPack-only object (no __array__, no buffer) would become a 0-d object array
        dlpack_only = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
        array = np.from_dlpack(value) if dlpack_only else np.asarray(value)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise TypeError(f"{name}: cannot be read as an array of numbers ({error})") from None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name}: dtype {array.dtype} is not taken; {_remedy(array)}")
    return array


def _remedy(array):
    """How to get numbers from an array of a dtype that is not taken."""
    if array.dtype.kind in "SU":
        return "encode the texts as numbers, or leave their columns out"
    if array.dtype.kind in "mM":
        return "give numbers, e.g. the days since a first date"
    if array.dtype.kind == "c":
        return "give real numbers, e.g. the real and imaginary parts as columns"
    if array.dtype.kind == "V":
        return "give its fields as columns, e.g. by numpy.lib.recfunctions.structured_to_unstructured"
    return "give real numbers, e.g. by numpy.array(…, dtype='float64')"


def _native(array, dtype):
    """Return array C-contiguous, aligned, in dtype (None: as it is): itself where it is so, else a copy."""
    if dtype is None:
        return array
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    with np.errstate(over="ignore"):  # too large for float32 becomes infinity, which `require_finite` reports
        if array.size <= AT_ONCE:
            return np.require(array, dtype, ["C", "A"])
        out = np.empty(array.shape, dtype)
        for part, converted in zip(_parts(array), _parts(out), strict=True):
            converted[...] = part
        return out


def _parts(array):
    """An array in blocks of rows, between which Python can take a signal; a small one as it is."""
    if array.size <= AT_ONCE:
        return [array]
    rows = max(1, AT_ONCE * len(array) // array.size)
    return [array[i : i + rows] for i in range(0, len(array), rows)]


def matrix(name, value, dtype, *, rows=None, columns=None):
    """Return value as a C-contiguous (rows, columns) array of dtype, neither of them 0."""
    array = _real(name, value)
    if array.ndim != 2:
        hint = f"; for one row, [{name}]" if array.ndim == 1 else ""
        raise ValueError(f"{name}: must have 2 dimensions, got {array.ndim} (shape {array.shape}){hint}")
    if 0 in array.shape:
        raise ValueError(f"{name}: is empty (shape {array.shape}); at least one row and column are needed")
    _same_length(name, array, rows)
    if columns is not None and array.shape[1] != columns:
        raise ValueError(f"{name}: must have {columns} columns, got {array.shape[1]} (shape {array.shape})")
    return _native(array, dtype)


def vector(name, value, dtype, count):
    """Return value as a C-contiguous array of dtype, (count,)."""
    array = _real(name, value)
    if array.shape != (count,):
        raise ValueError(f"{name}: must have shape ({count},), got {array.shape}")
    return _native(array, dtype)


def targets(name, value, dtype, *, rows, outputs, objective):
    """Return value as a C-contiguous (rows, columns) array of targets that the objective takes.

    One column may come as (rows,).
    """
    array = _real(name, value)
    if array.ndim == 1 and objective.target_columns(outputs, 1) == 1:
        array = array.reshape(-1, 1)
    columns = objective.target_columns(outputs, array.shape[1] if array.ndim == 2 else 1)
    if array.ndim == 1:
        raise ValueError(f"{name}: must have {columns} columns, one for each output, got shape {array.shape}")
    array = matrix(name, array, dtype, rows=rows, columns=columns)
    objective.check_targets(name, array, outputs)
    return array


def sample_weights(name, value, dtype, *, rows):
    """Return value as a C-contiguous (rows,) array, >= 0, finite, not all 0; None stays None."""
    if value is None:
        return None
    array = _real(name, value)
    if array.ndim != 1:
        raise ValueError(f"{name}: must have 1 dimension, got {array.ndim} (shape {array.shape})")
    _same_length(name, array, rows)
    if array.dtype not in DTYPES:
        array = array.astype(dtype)
    require_finite(name, array)
    negative = np.flatnonzero(array < 0)
    if len(negative):
        raise ValueError(f"{name}: row {negative[0]} is {array[negative[0]]}; weights must be >= 0")
    total = array.sum(dtype=np.float64)
    if not 0 < total < np.inf:
        raise ValueError(f"{name}: the weights add up to {total}; the sum must be positive and finite")
    # Only their ratios count. Near the dtype's limits products with them, and the inverse of their sum, would
    # be subnormal or infinite; others stay as they are, as scaling could lose the least of them.
    exponent = int(np.frexp(array.max())[1])
    if not -32 <= exponent <= np.finfo(dtype).maxexp - 16:
        array = np.ldexp(array, -exponent)
    return _native(array, dtype)


def ordered(name, value, wanted):
    """Return (value with its columns in the order wanted, their names); (value, None) if not a frame.

    A frame without names, or for a network without, is taken as it is.
    """
    if type(value) is np.ndarray or not _frames.is_frame(value):
        return value, None
    value = _frames.in_order(name, value, wanted)
    return value, _frames.names(value)


def data(
    X,
    y,
    sample_weight,
    dtype,
    features,
    outputs,
    objective,
    names=("X", "y", "sample_weight"),
    as_given=False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return X, y and the weights of one data set, checked against the network and each other.

    With `as_given`, X and y keep their dtype and layout.
    """
    wanted = None if as_given else dtype
    X = matrix(names[0], X, wanted, columns=features)
    Y = targets(names[1], y, wanted, rows=len(X), outputs=outputs, objective=objective)
    return X, Y, sample_weights(names[2], sample_weight, dtype, rows=len(X))


def _same_length(name, array, rows):
    if rows is not None and len(array) != rows:
        raise ValueError(f"{name}: must have {rows} rows, as X has, got {len(array)} (shape {array.shape})")


def require_finite(name, array):
    """Raise where a row of array (or an element, if it is 1-d) holds NaN or infinity."""
    # A finite sum has only finite terms, and costs no memory; only a sum that is not is looked into.
    with np.errstate(over="ignore", invalid="ignore"):
        if all([np.isfinite(part.sum(dtype=np.float64)) for part in _parts(array)]):
            return
    rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not rows.all():
        first = int(np.argmin(rows))
        raise ValueError(
            f"{name}: row {first} holds NaN or infinity (as {array.dtype}): {array[first]}; "
            "remove or fill such rows"
        )


def layer_weights(value):
    """Return weights as C-contiguous arrays of one dtype whose shapes chain: (s_{l-1} + 1, s_l).

    All float32: float32; anything else is computed in float64.
    """
    if isinstance(value, np.ndarray) or not np.iterable(value):
        raise TypeError("weights: must be a sequence of arrays, one for each layer")
    names = [f"weights[{layer}]" for layer in range(len(value))]
    arrays = [_real(name, W) for name, W in zip(names, value, strict=True)]
    if not arrays:
        raise ValueError("weights: at least one layer is needed")
    dtype = DTYPES[0] if all(W.dtype == np.float32 for W in arrays) else DTYPES[1]
    arrays = [matrix(name, W, dtype) for name, W in zip(names, arrays, strict=True)]
    if len(arrays[0]) < 2:
        raise ValueError(f"weights[0]: must have d+1 rows for d >= 1 features, got shape {arrays[0].shape}")
    for layer in range(1, len(arrays)):
        below = arrays[layer - 1].shape
        if len(arrays[layer]) != below[1] + 1:
            raise ValueError(
                f"weights[{layer}]: must have {below[1] + 1} rows, one for each column of the layer before "
                f"{below} and one of biases, got shape {arrays[layer].shape}"
            )
    return arrays


def sizes(value):
    """Return value as a tuple (features, hidden units of each layer, outputs)."""
    try:
        numbers = tuple(operator.index(size) for size in value)
    except TypeError:
        raise TypeError(f"sizes: must be integers (features, hidden, …, outputs), got {value!r}") from None
    if len(numbers) < 2:
        raise ValueError(
            f"sizes: must be (features, outputs) or (features, hidden, …, outputs), got {numbers}"
        )
    if min(numbers) < 1:
        raise ValueError(f"sizes: each must be at least 1, got {numbers}")
    weights = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(numbers))
    if weights > sys.maxsize // 64:
        raise ValueError(f"sizes: {numbers} are {weights} weights, more than any memory holds")
    return numbers
