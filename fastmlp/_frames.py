"""Frames (pandas, polars, Arrow) read column by column, so that each column says what it is.

They are recognised by what they offer; none of these packages is imported.
"""

import numpy as np


def is_frame(value):
    """Whether value is a table of named columns: a pandas or polars DataFrame, an Arrow table or batch."""
    kind = type(value)
    by_place = hasattr(kind, "iloc") or hasattr(kind, "to_series")
    here = not hasattr(kind, "__dask_graph__")  # what is yet to be calculated NumPy reads as a whole
    return here and (hasattr(kind, "column_names") or (hasattr(kind, "columns") and by_place))


def is_series(value):
    """Whether value is one column: a pandas or polars Series, an Arrow array."""
    kind = type(value)
    here = not hasattr(kind, "__dask_graph__")
    return here and hasattr(kind, "to_numpy") and (hasattr(kind, "iloc") or hasattr(kind, "null_count"))


def names(frame):
    """Return the names of a frame's columns as a tuple, if all are strings; else None."""
    found = list(frame.column_names if hasattr(frame, "column_names") else frame.columns)
    return tuple(map(str, found)) if all(isinstance(name, str) for name in found) else None


def in_order(argument, frame, wanted):
    """Return a frame with its columns in the order of the wanted names; itself, where either has none.

    Raises ValueError where the names are others.
    """
    found = names(frame)
    if found is None or wanted is None or found == tuple(wanted):
        return frame
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    twice = [name for name in wanted if found.count(name) > 1]
    if missing or extra or twice:
        said = [
            f"{what} {', '.join(map(repr, columns[:5]))}{' …' if len(columns) > 5 else ''}"
            for what, columns in (("without", missing), ("with", extra), ("more than one", twice))
            if columns
        ]
        raise ValueError(
            f"{argument}: its columns are not those of the network: {'; '.join(said)}; give "
            f"{', '.join(map(repr, wanted[:5]))}{' …' if len(wanted) > 5 else ''}"
        )
    return frame.select(list(wanted)) if hasattr(frame, "select") else frame[list(wanted)]


def read(argument, frame):
    """Return a frame as a C-contiguous (rows, columns) array of the columns' common dtype; null is NaN.

    Raises TypeError for a column that holds no numbers, ValueError for a name that stands for two columns.
    """
    known = names(frame)
    if known is not None and len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        raise ValueError(f"{argument}: column {twice!r} appears twice; rename one of them")
    columns = []
    for j in range(frame.shape[1]):
        label = repr(known[j]) if known else str(j)
        columns.append(read_column(f"{argument}: column {label}", _column(frame, j)))
    dtype = np.result_type(*(column.dtype for column in columns)) if columns else np.float64
    table = np.empty((frame.shape[0], len(columns)), dtype)
    for j, column in enumerate(columns):
        table[:, j] = column
    return table


def _column(frame, j):
    if hasattr(frame, "iloc"):
        return frame.iloc[:, j]
    return frame.column(j) if hasattr(frame, "column_names") else frame.to_series(j)


def read_column(said, column):
    """Return a Series or an Arrow array as an array of numbers; null is NaN."""
    if hasattr(column, "iloc"):
        return _read_pandas(said, column)
    kind = str(column.type if hasattr(column, "type") else column.dtype).lower()
    if not kind.startswith(("bool", "int", "uint", "float", "double", "halffloat")):
        raise _no_numbers(said, kind)
    nulls = column.null_count() if callable(column.null_count) else column.null_count
    if not nulls:
        return np.asarray(column)
    if hasattr(column, "type"):  # Arrow
        return np.array([np.nan if value is None else float(value) for value in column.to_pylist()])
    return column.cast(float).to_numpy()  # polars: null becomes NaN


def _read_pandas(said, column):
    kind = getattr(column.dtype, "kind", "O")
    if kind not in "biuf":
        raise _no_numbers(said, str(column.dtype))
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    if column.isna().any():
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    numpy_dtype = getattr(column.dtype, "numpy_dtype", None) or getattr(column.dtype, "subtype", np.float64)
    return column.to_numpy(dtype=numpy_dtype)


def _no_numbers(said, kind):
    if "date" in kind or "time" in kind or "duration" in kind:
        advice = "give numbers, e.g. the days since a first one"
    else:
        advice = "encode it as numbers, or leave the column out"
    return TypeError(f"{said} holds {kind}, no numbers; {advice}")
