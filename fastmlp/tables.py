"""Reading tables of numbers from CSV files, for the command line: every error names its place."""

import csv
import gzip
import io
import itertools
import math
import re
import zlib
from array import array

import numpy as np

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}


class TableError(ValueError):
    """A file is not the table that is needed; the message says where and what to do."""


def read_csv(path, columns=None):
    r"""Read numbers from a CSV file with a header line.

    Parameters
    ----------
    path : str or path-like
        Separated by commas, semicolons or tabs, whichever the first line has most of; UTF-8, or UTF-16 with a
        byte-order mark; any line ends; also compressed by gzip. true and false are 1 and 0.
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
    with open(path, "rb") as file, _text(path, file) as text:
        rows = csv.reader(())
        try:
            first = text.readline()
            if "\0" in first:
                raise TableError(f"{path}, line 1: holds NUL characters; is it UTF-16? save it as UTF-8 CSV")
            delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), "")))
            rows = csv.reader(itertools.chain([first], text), delimiter=delimiter, strict=True)
            return _table(path, rows, columns, delimiter)
        except csv.Error as error:
            raise TableError(f"{path}, line {max(rows.line_num, 1)}: {error}") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TableError(
                f"{path}, after line {rows.line_num}: damaged by compression ({error})"
            ) from None
        except UnicodeDecodeError as error:
            raise TableError(
                f"{path}, after line {rows.line_num}: not UTF-8 text ({error.reason}); save it as UTF-8 CSV"
            ) from None


def counts_rows(column):
    """Whether a column only counts the rows of its file: 0 or 1, and one more in each (of at least three)."""
    return len(column) >= 3 and column[0] in (0, 1) and bool((np.diff(column) == 1).all())


def _text(path, file):
    """The text in an open file, of which not a byte has to be read twice: it may be a pipe."""
    start = file.peek(4)[:4]
    for magic, kind in ((b"PK", "a zip archive or Excel workbook"), (b"PAR1", "a Parquet file")):
        if start.startswith(magic):
            raise TableError(f"{path}: is {kind}; save it as CSV")
    if start.startswith(b"\x1f\x8b"):
        file = io.BufferedReader(gzip.GzipFile(fileobj=file))
        start = b""
    utf_16 = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    return io.TextIOWrapper(file, encoding="utf-16" if utf_16 else "utf-8-sig", newline="")


def _table(path, rows, columns, delimiter):
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise TableError(f"{path}, line 1: no header; the first line must name the columns")
    for name in header:
        if name and header.count(name) > 1:
            raise TableError(f"{path}, line 1: column {name!r} appears twice; rename one of them")
    names = header if columns is None else columns(header)
    places = [header.index(name) for name in names]
    numbers = array("d")
    for row in rows:
        if not row:
            continue  # a blank line
        if len(row) != len(header):
            raise TableError(
                f"{path}, line {rows.line_num}: {len(row)} cells, and the header has {len(header)}; one "
                f"{DELIMITERS[delimiter]} too many or too few (decimal commas must be points)"
            )
        for place in places:
            try:
                numbers.append(_number(row[place]))
            except ValueError as error:
                raise TableError(f"{path}, line {rows.line_num}, column {header[place]!r}: {error}") from None
    if not numbers:
        raise TableError(f"{path}, line {rows.line_num + 1}: no rows below the header")
    return names, np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(names))


MISSING = {"na", "n/a", "nan", "null", "none", "nil", "?", "-", ".", "#n/a"}
TRUTH = {"true": 1.0, "false": 0.0}
CAUSES = (  # what a cell that is no number looks like, and what to do
    (r"\d{1,3}(,\d{3}){2,}(\.\d*)?|\d{1,3}(,\d{3})+\.\d*", "leave the thousands' commas out"),
    (
        r"[1-9]\d{0,2},\d{3}",
        "if the comma is for the thousands leave it out, if it is a decimal comma make it a point",
    ),
    (r"\d*,\d+", "make the decimal comma a point"),
    (r"\d{1,3}(\.\d{3})+,\d+", "leave the thousands' points out, and make the decimal comma a point"),
    (r"\d{1,3}([ '\u00a0\u202f]\d{3})+([.,]\d*)?", "leave the marks between the thousands out"),
    (
        r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{1,2}:\d{2}(:\d{2}.*)?",
        "it looks like a date or time; write it as a number, e.g. the days since a first one",
    ),
    (r"\D{0,3}[\d.,]+ ?(%|\D{1,3})", "leave the unit out"),
    (r"(\D{1,3}) ?[\d.,]+", "leave the unit out"),
)


def _number(cell):
    """The finite number in a cell."""
    text = cell.strip()
    if not text:
        raise ValueError("the cell is empty; fill it or remove the row")
    if text.lower() in MISSING:
        raise ValueError(f"{text!r} is a missing value; fill it or remove the row")
    if text.lower() in TRUTH:
        return TRUTH[text.lower()]
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or "_" in text:  # float() takes 1_000, a spreadsheet does not
        unsigned = text.lstrip("+-")
        found = (advice for pattern, advice in CAUSES if re.fullmatch(pattern, unsigned))
        advice = next(found, "encode it as numbers, or leave the column out")
        raise ValueError(f"{text[:40]!r} is not a number; {advice}")
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is not a finite number; fill it or remove the row")
    return value
