import csv

import numpy as np

import fastmlp
from fastmlp.datasets import TITANIC


def test_titanic():
    X, y = fastmlp.load_titanic()
    assert X.shape == (1045, 3)
    assert y.shape == (1045,)
    assert X.dtype == y.dtype == np.float64
    with TITANIC.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1309
    complete = [
        [float(row[name]) for name in ("age", "class", "survived", "fare")]
        for row in rows
        if all(row.values())
    ]
    np.testing.assert_array_equal(np.column_stack([X, y]), complete)


def test_figures_that_the_readme_and_the_command_line_compare_with():
    X, y = fastmlp.load_titanic()
    assert round(y.var()) == 3103
    ones = np.hstack([X, np.ones((1045, 1))])
    line, *_ = np.linalg.lstsq(ones, y, rcond=None)
    assert round(np.mean((ones @ line - y) ** 2)) == 2089
