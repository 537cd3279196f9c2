"""The data of the exercise sheet."""

from pathlib import Path

import numpy as np

# by the path, as importlib.resources takes 4 ms to import; compiled packages are always folders
TITANIC = Path(__file__).parent / "data" / "titanic.csv"


def load_titanic() -> tuple[np.ndarray, np.ndarray]:
    """Return age, class and survival of the Titanic's passengers, and the price of their ticket.

    Returns
    -------
    X : (1045, 3) float64 array
        Age in years (infants: fractions), class (1, 2, 3), survived (0, 1).
    y : (1045,) float64 array
        Fare in pounds of 1912.

    Notes
    -----
    These are the passengers of whom all four values are known; the file in the package has all 1309,
    with blanks. Source: the passenger list compiled by Thomas Cason for the Department of
    Biostatistics, Vanderbilt University (titanic3), from Encyclopedia Titanica; OpenML data set 40945.

    Examples
    --------
    >>> X, y = load_titanic()
    >>> X.shape, y.shape, X[0], y[0]
    ((1045, 3), (1045,), array([29.,  1.,  1.]), np.float64(211.3375))
    """
    with TITANIC.open(encoding="ascii") as file:
        table = np.genfromtxt(file, delimiter=",", skip_header=1)
    complete = table[~np.isnan(table).any(axis=1)]
    return complete[:, :3].copy(), complete[:, 3].copy()
