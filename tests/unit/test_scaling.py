"""Standardised training: measured on what is given, folded into the weights, and said where that loses."""

import numpy as np
import pytest

from fastmlp import MLP, SGD, AdamW, Trainer, scaling
from fastmlp.objectives import SquaredError

LARGE = np.arange(10.0)[:, None], 1.7e9 + np.arange(10.0)


def fitted(X, y, dtype="float32", epochs=2000, **options):
    net = MLP((X.shape[1], 8, 1), dtype=dtype, seed=1)
    trainer = Trainer(net, learning_rate=0.01, standardize=True, seed=1)
    return net, trainer.fit(X, y, epochs, **options)


def test_40_differences_that_float32_would_lose_are_learnt_and_a_warning_names_the_column():
    X, y = LARGE
    with pytest.warns(RuntimeWarning, match=r"column 0 of y.*dtype='float64'") as caught:
        _, history = fitted(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert history.loss[-1] < 0.1  # the targets that were trained on are not all the same


def test_40_the_feature_is_named():
    y, X = LARGE[0][:, 0], LARGE[1][:, None]
    X = np.hstack([LARGE[0], X])
    net = MLP((2, 8, 1), seed=1)
    net.feature_names = ("small", "large")
    with pytest.warns(RuntimeWarning, match="'large'"):
        Trainer(net, learning_rate=0.01, standardize=True, seed=1).fit(
            X[:, [1, 1]] * [0, 1] + X * [1, 0], y, 500
        )


@pytest.mark.parametrize("swap", [False, True])
def test_40_float64_holds_it(swap):
    X, y = LARGE if not swap else (LARGE[1][:, None], LARGE[0][:, 0])
    net, history = fitted(X, y, "float64")
    assert history.loss[-1] < 0.1
    assert np.mean((net.predict(X) - y) ** 2) < 2 * history.loss[-1]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0, 30, 2000])
def test_40_ordinary_data_warn_of_nothing(rng, offset, weighted):
    X = rng.normal(size=(200, 3)) * 10 + offset
    w = (rng.random(200) < 0.5).astype(float) if weighted else None
    fitted(X, X[:, 0] - offset + rng.normal(size=200), epochs=20, sample_weight=w)


def test_40_numbers_beyond_float32_are_taken_as_they_are(rng):
    X = rng.normal(size=(50, 2))
    _, plain = fitted(X, X[:, 0], epochs=300)
    with pytest.warns(RuntimeWarning, match="float64"):  # the network itself cannot take such numbers
        _, huge = fitted(X * 2.0**400, X[:, 0], epochs=300)
    np.testing.assert_allclose(huge.loss, plain.loss)
    net, history = fitted(X * 2.0**400, X[:, 0], "float64", epochs=300)
    np.testing.assert_allclose(net.loss(X * 2.0**400, X[:, 0]), history.loss[-1], rtol=0.5)


def test_40_integers_are_measured_as_integers():
    n = np.arange(10)
    X = (2**35 + n)[:, None]
    _, history = fitted(X, n, "float64")
    assert history.loss[-1] < 0.1


def test_the_scaling_is_exact_where_squares_would_overflow_or_vanish():
    for size in (1e-320, 1e-200, 1.0, 1e200, 1e307):
        column = np.array([[0.0], [2.0], [4.0]]) * size
        measured = scaling.fit_scaling(column, column, None, SquaredError(), 1)
        np.testing.assert_allclose(measured.mean_x, 2 * size, rtol=1e-3)
        np.testing.assert_allclose(measured.scale_x, np.sqrt(8 / 3) * size, rtol=1e-3)


def test_rows_without_weight_are_not_measured():
    X, w = np.array([[1.0], [1.0], [5.0]]), np.array([1.0, 2.0, 0.0])
    measured = scaling.fit_scaling(X, X, w, SquaredError(), X.shape[1])
    assert measured.constant.all()
    assert (measured.mean_x, measured.scale_x) == (1, 1)


@pytest.mark.parametrize("value", [7.0, 0.1, 1e15])
@pytest.mark.parametrize("optimizer", [SGD(0.01, momentum=0.9), "adam", AdamW(0.01)])
def test_41_weights_of_a_constant_feature_are_0(value, optimizer):
    X = np.stack([np.arange(10.0), np.full(10, value)], axis=1)
    net = MLP((2, 4, 1), dtype="float64", seed=1)
    Trainer(net, optimizer, standardize=True, l2=0.01, seed=1).fit(X, np.arange(10.0), 50)
    assert (net.weights[0][1] == 0).all()
    other = X + np.array([0, 1])
    assert (net.predict(other) == net.predict(X)).all()


def test_41_a_feature_constant_over_the_rows_that_count():
    X = np.stack([np.arange(10.0), [7.0] * 9 + [9.0]], axis=1)
    net = MLP((2, 4, 1), seed=1)
    Trainer(net, standardize=True, seed=1).fit(X, np.arange(10.0), 5, sample_weight=[1] * 9 + [0])
    assert (net.weights[0][1] == 0).all()


def test_41_what_is_learnt_of_it_later_stays():
    X = np.stack([np.arange(10.0), np.full(10, 7.0)], axis=1)
    trainer = Trainer(MLP((2, 4, 1), seed=1), learning_rate=0.05, standardize=True, seed=1)
    trainer.fit(X, X[:, 0], 5)
    X[:, 1] = np.arange(10)[::-1]
    trainer.fit(X, X[:, 1], 50)
    learnt = trainer.network.weights[0][1].copy()
    assert learnt.any()
    trainer.network.parameters[-1] += 1
    trainer.fit(X, X[:, 1], 1)
    assert trainer.network.weights[0][1].any()
