import numpy as np
import pytest

from fastmlp.tables import TableError, read_csv


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
        (b"a,a\n1,2\n", r"line 1: column 'a' stands there twice; rename one"),
        (b"a,b\n1,2\n3\n", r"line 3: 1 cells, and the header has 2"),
        (b"a,b\n1,2\n3,4,5\n", r"line 3: 3 cells"),
        (b"a,b\n1,2\n3,\n", r"line 3, column 'b': the cell is empty; fill it or remove the row"),
        (b"a,b\n1,2\nx,4\n", r"line 3, column 'a': 'x' is not a number; encode it"),
        (b'a,b\n1,"2,5"\n', r"line 2, column 'b': '2,5' is not a number; use a decimal point"),
        (b"a,b\n1,2,5\n", r"line 2: 3 cells.*decimal"),
        (b"a,b\n1,1e999\n", r"line 2, column 'b': '1e999' is not a finite number"),
        (b"a,b\n1,nan\n", r"line 2, column 'b': 'nan' is not a finite number"),
        (b"a,b\n1,-Infinity\n", r"line 2, column 'b': '-Infinity' is not a finite number"),
        (b"a,b\n1,1_000\n", r"line 2, column 'b': '1_000' is not a number"),
        (b"a,b\n1,\x00\n", r"line 2"),
        (b"a,b\n1,2\n\xff\xfe,2\n", r"not UTF-8"),
        (b'a,b\n1,"2\n', r"line 2"),
        ("a,b\n1,2\n".encode("utf-16"), r"not UTF-8"),
    ],
)
def test_31_complaints_name_the_place(tmp_path, content, message):
    with pytest.raises(TableError, match=rf"table\.csv, .*{message}"):
        read(tmp_path, content)


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "absent.csv")
