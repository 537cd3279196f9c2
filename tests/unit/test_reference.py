import numpy as np
import pytest
import sheet

from fastmlp import reference
from fastmlp.reference import bounds as bounds_module

# Two rows, worked out by hand with the sheet.
X = np.array([[1.0, 2.0], [3.0, -1.0]])
Y = np.array([[1.0], [2.0]])
W1 = np.array([[1.0, -1.0], [0.0, 1.0], [1.0, 0.0]])
W2 = np.array([[2.0], [3.0], [-1.0]])


def test_nodes_of_two_rows_by_hand():
    expected = {
        "A": [[1, 2, 1], [3, -1, 1]],
        "B": [[2, 1], [4, -4]],
        "C": [[2, 1], [4, 0]],
        "D": [[2, 1, 1], [4, 0, 1]],
        "E": [[6], [7]],
        "F": [[5], [5]],
        "G": [[25], [25]],
        "H": 50,
        "L": 25,
    }
    nodes = reference.graph(X, Y, W1, W2)
    assert list(nodes) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(nodes[name], values, err_msg=name)
    np.testing.assert_array_equal(sheet.forward(reference, X, W1, W2), expected["E"])


def test_gradients_of_two_rows_by_hand():
    loss, dW1, dW2 = sheet.loss_and_gradients(reference, X, Y, W1, W2)
    assert loss == 25
    np.testing.assert_array_equal(dW1, [[40, 15], [10, 30], [20, 15]])
    np.testing.assert_array_equal(dW2, [[30], [5], [10]])


def test_weighted_gradients_of_two_rows_by_hand():
    loss, dW1, dW2 = sheet.loss_and_gradients(reference, X, Y, W1, W2, np.array([1.0, 3.0]))
    assert loss == 25
    np.testing.assert_array_equal(dW1, [[50, 7.5], [-5, 15], [20, 7.5]])
    np.testing.assert_array_equal(dW2, [[35], [2.5], [10]])


def test_integer_weights_are_repeated_rows():
    once = sheet.loss_and_gradients(reference, X[[0, 1, 1, 1]], Y[[0, 1, 1, 1]], W1, W2)
    weighted = sheet.loss_and_gradients(reference, X, Y, W1, W2, np.array([1.0, 3.0]))
    for a, b in zip(once, weighted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)


def test_derivative_of_relu_at_zero_is_zero():
    _, dW1, dW2 = sheet.loss_and_gradients(
        reference, np.zeros((1, 1)), np.ones((1, 1)), np.zeros((2, 1)), np.ones((2, 1))
    )
    assert not dW1.any()
    assert dW2[0, 0] == 0


def test_nan_in_gives_nan_out():
    bad = X.copy()
    bad[0, 1] = np.nan
    nodes = reference.graph(bad, Y, W1, W2)
    assert np.isnan(nodes["E"][0]).all()
    assert np.isnan(nodes["L"])
    _, dW1, dW2 = sheet.loss_and_gradients(reference, bad, Y, W1, W2)
    assert np.isnan(dW1).all()
    assert np.isnan(dW2).all()


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_gradients_against_central_differences(m, weighted, l2):
    rng = np.random.default_rng(2)  # of a draw in which every unit is active for some row
    n, d, h = 12, 3, 4
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(n, m))
    W1, W2 = rng.normal(size=(d + 1, h)), rng.normal(size=(h + 1, m))
    w = rng.uniform(0.5, 2, n) if weighted else None
    assert np.abs(reference.graph(X, Y, W1, W2)["B"]).min() > 1e-3  # away from the kink

    def objective():
        return sheet.loss_and_gradients(reference, X, Y, W1, W2, w)[0] + reference.penalty((W1, W2), l2)[0]

    gradients = sheet.loss_and_gradients(reference, X, Y, W1, W2, w)[1:]
    penalties = reference.penalty((W1, W2), l2)[1]
    step = 1e-4
    for W, dW, dP in zip((W1, W2), gradients, penalties, strict=True):
        for place in np.ndindex(W.shape):
            value = W[place]
            W[place] = value + step
            above = objective()
            W[place] = value - step
            below = objective()
            W[place] = value
            found = (above - below) / (2 * step)
            expected = dW[place] + dP[place]
            assert abs(expected) > 1e-3
            assert abs(found - expected) <= 1e-7 * abs(expected)


def test_permutation_holds_every_row_once(rng):
    for n in (1, 2, 3, 100):
        assert sorted(reference.permutation(n, rng)) == list(range(n))


def test_error_bounds_of_ones_by_hand():
    """n, d, h, m = 5, 3, 4, 2, float32: sums of 4 and 5 terms, and what the functions add."""
    eps = float(np.finfo("float32").eps)
    bounds = sheet.error_bounds(np.ones((5, 3)), np.ones((5, 2)), np.ones((4, 4)), np.ones((5, 2)), eps=eps)
    of_a = (4 + 2) * eps * 4 + bounds_module.FUNCTION * eps * 4
    z = 4 * of_a + (5 + 2) * eps * 17
    np.testing.assert_allclose(bounds["E"], np.full((5, 2), z), rtol=1e-6)
    off = z + bounds_module.FUNCTION * eps * (1 + 17 + 1)
    slope = 17 - 1  # of (z - 1)**2 / 2 by each z, with z = 17
    loss_terms = 16.0**2
    loss = 2 * (slope + off) * off + (bounds_module.FUNCTION + 2 + 4 + 5 + 4) * eps * loss_terms
    np.testing.assert_allclose(bounds["L"], loss, rtol=1e-6)
    of_slope = (off + bounds_module.FUNCTION * eps * slope + 4 * eps * slope) / 5
    dW2 = 5 * (4 * of_slope + of_a * (slope / 5 + of_slope) + (5 + 6) * eps * 4 * slope / 5)
    np.testing.assert_allclose(bounds["dW2"][:-1], np.full((4, 2), dW2), rtol=1e-6)
    bias = 5 * (of_slope + (5 + 6) * eps * slope / 5)
    np.testing.assert_allclose(bounds["dW2"][-1], np.full(2, bias), rtol=1e-6)
