import gzip
import re

import numpy as np
import pytest

from fastmlp.tables import TableError, counts_rows, read_csv


def read(tmp_path, content, columns=None):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return read_csv(path, columns)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n3,-4e1\n",
        b"a,b\n1,2\n3,-4e1",
        b"a,b\r\n1,2\r\n3,-4e1\r\n",
        b"a,b\r1,2\r3,-4e1\r",
        b"\xef\xbb\xbfa,b\n1,2\n3,-4e1\n",
        b' a ,"b"\n 1 ,"2"\n\n3,-4e1\n\n',
    ],
    ids=["plain", "no last line end", "CRLF", "CR", "byte-order mark", "spaces, quotes, blank lines"],
)
def test_31_tables_that_are_read(tmp_path, content):
    names, table = read(tmp_path, content)
    assert names == ["a", "b"]
    np.testing.assert_array_equal(table, [[1, 2], [3, -40]])


def test_only_the_wanted_columns_must_be_numbers(tmp_path):
    names, table = read(tmp_path, b"name,b,a\nx,2,1\ny,4,3\n", lambda header: ["a", "b"])
    assert names == ["a", "b"]
    np.testing.assert_array_equal(table, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1: no header"),
        (b"\n1,2\n", r"line 1: no header"),
        (b"a,b\n", r"line 2: no rows"),
        (b"a,b\n\n\n", r"no rows"),
        (b"a,a\n1,2\n", r"line 1: column 'a' appears twice; rename one"),
        (b"a,b\n1,2\n3\n", r"line 3: 1 cells, and the header has 2"),
        (b"a,b\n1,2\n3,4,5\n", r"line 3: 3 cells"),
        (b"a,b\n1,2\n3,\n", r"line 3, column 'b': the cell is empty; fill it or remove the row"),
        (b"a,b\n1,2\nx,4\n", r"line 3, column 'a': 'x' is not a number; encode it"),
        (b'a,b\n1,"2,5"\n', r"line 2, column 'b': '2,5' is not a number; make the decimal comma a point"),
        (b"a,b\n1,2,5\n", r"line 2: 3 cells.*decimal"),
        (b"a,b\n1,1e999\n", r"line 2, column 'b': '1e999' is not a finite number"),
        (b"a,b\n1,nan\n", r"line 2, column 'b': 'nan' is a missing value"),
        (b"a,b\n1,-Infinity\n", r"line 2, column 'b': '-Infinity' is not a finite number"),
        (b"a,b\n1,1_000\n", r"line 2, column 'b': '1_000' is not a number"),
        (b"a,b\n1,\x00\n", r"line 2"),
        (b"a,b\n1,2\n\xff\xfe,2\n", r"not UTF-8"),
        (b'a,b\n1,"2\n', r"line 2"),
        ("a,b\n1,2\n".encode("utf-16-le"), r"line 1: .*is it UTF-16"),
    ],
)
def test_31_complaints_name_the_place(tmp_path, content, message):
    with pytest.raises(TableError, match=rf"table\.csv, .*{message}"):
        read(tmp_path, content)


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"a;b\n1;2\n3;-4e1\n",
        b"a\tb\n1\t2\n3\t-4e1\n",
        gzip.compress(b"a,b\n1,2\n3,-4e1\n", mtime=0),
        "a,b\n1,2\n3,-4e1\n".encode("utf-16"),
        gzip.compress(b"\xef\xbb\xbfa;b\n1;2\n3;-4e1\n", mtime=0),
    ],
    ids=["semicolons", "tabs", "gzip", "UTF-16", "gzip, semicolons"],
)
def test_48_files_that_are_read_right(tmp_path, content):
    names, table = read(tmp_path, content)
    assert names == ["a", "b"]
    np.testing.assert_array_equal(table, [[1, 2], [3, -40]])


def test_48_truth_values_are_numbers(tmp_path):
    _, table = read(tmp_path, b"a,b\ntrue,False\nTRUE,0.5\n")
    np.testing.assert_array_equal(table, [[1, 0], [1, 0.5]])


def test_48_a_name_with_a_comma_does_not_choose_the_delimiter(tmp_path):
    names, _ = read(tmp_path, b'"a;x;y;z",b\n1,2\n')
    assert names == ["a;x;y;z", "b"]


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        (
            "401,918",
            "if the comma is for the thousands leave it out, if it is a decimal comma make it a point",
        ),
        ("1,401,918", "leave the thousands' commas out"),
        ("1,401.5", "leave the thousands' commas out"),
        ("-0,918", "make the decimal comma a point"),
        ("1,5", "make the decimal comma a point"),
        ("1.401,5", "leave the thousands' points out"),
        ("1 401", "leave the marks between the thousands out"),
        ("2024-01-31", "date or time"),
        ("31.12.2024", "date or time"),
        ("1/2/24", "date or time"),
        ("2024-01-31T12:00", "date or time"),
        ("12:30", "date or time"),
        ("12%", "leave the unit out"),
        ("$7.25", "leave the unit out"),
        ("7 kg", "leave the unit out"),
        ("red", "encode it as numbers, or leave the column out"),
        *(
            (cell, "is a missing value; fill it or remove the row")
            for cell in ("NA", "n/a", "null", "?", "NaN")
        ),
    ],
)
def test_48_the_cause_is_named(tmp_path, cell, advice):
    with pytest.raises(TableError, match=rf"line 2, column 'b': .*{re.escape(advice)}"):
        read(tmp_path, f"a;b\n1;{cell}\n".encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "a zip archive or Excel workbook; save it as CSV"),
        (b"PAR1", "a Parquet file; save it as CSV"),
        (gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:-30], "damaged by compression"),
    ],
    ids=["zip", "Parquet", "gzip cut short"],  # the same in every process
)
def test_48_other_files_are_named(tmp_path, content, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, content)


def test_47_what_counts_the_rows():
    for column in ([0, 1, 2], [1, 2, 3, 4]):
        assert counts_rows(np.array(column, float))
    for column in ([0, 1], [2, 3, 4], [1, 2, 4], [3, 2, 1], [1, 1, 1]):
        assert not counts_rows(np.array(column, float))
