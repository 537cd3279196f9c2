"""Reading tables of numbers from CSV files, for the command line: every complaint has its place."""

import csv
import math
from array import array

import numpy as np


class TableError(ValueError):
    """A file is not the table that is needed; the message says where and what to do."""


def read_csv(path, columns=None):
    r"""Read numbers from a CSV file with a header line.

    Parameters
    ----------
    path : str or path-like
        Comma-separated, UTF-8 (a byte-order mark and any line ends are taken).
    columns : callable, optional
        ``columns(header)`` gives the names to read, in order; only these must hold numbers. None
        reads all.

    Returns
    -------
    names : list of str
    table : (n, len(names)) float64 array

    Raises
    ------
    OSError
        The file cannot be read.
    TableError
        It is empty, has no rows, a column twice, a row of another length, or a cell that is not a
        finite number.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "t.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("age,fare\n29,211.5\n")
    ...     read_csv(path)
    (['age', 'fare'], array([[ 29. , 211.5]]))
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            return _table(path, rows, columns)
        except csv.Error as error:
            raise TableError(f"{path}, line {max(rows.line_num, 1)}: {error}") from None
        except UnicodeDecodeError as error:
            raise TableError(
                f"{path}, after line {rows.line_num}: not UTF-8 text ({error.reason}); save it as UTF-8 CSV"
            ) from None


def _table(path, rows, columns):
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise TableError(f"{path}, line 1: no header; the first line must name the columns")
    for name in header:
        if header.count(name) > 1:
            raise TableError(f"{path}, line 1: column {name!r} stands there twice; rename one")
    names = header if columns is None else columns(header)
    places = [header.index(name) for name in names]
    numbers = array("d")
    for row in rows:
        if not row:
            continue  # a blank line
        if len(row) != len(header):
            raise TableError(
                f"{path}, line {rows.line_num}: {len(row)} cells, and the header has {len(header)}; "
                "a comma too many or too few (decimal commas must be points)"
            )
        for place in places:
            try:
                numbers.append(_number(row[place]))
            except ValueError as error:
                raise TableError(f"{path}, line {rows.line_num}, column {header[place]!r}: {error}") from None
    if not numbers:
        raise TableError(f"{path}, line {rows.line_num + 1}: no rows below the header")
    return names, np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(names))


def _number(cell):
    """The finite number in a cell."""
    text = cell.strip()
    if not text:
        raise ValueError("the cell is empty; fill it or remove the row")
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or "_" in text:  # float() takes 1_000, a spreadsheet does not
        advice = "use a decimal point" if "," in text else "encode it as numbers, or leave the column out"
        raise ValueError(f"{text[:40]!r} is not a number; {advice}")
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is not a finite number; fill it or remove the row")
    return value
