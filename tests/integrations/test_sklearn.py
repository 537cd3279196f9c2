import pickle
import warnings
from contextlib import suppress

import joblib
import numpy as np
import polars as pl
import pytest
import sklearn.neural_network
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_linnerud, make_regression
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLP, Trainer, kernels
from fastmlp.sklearn import MLPClassifier, MLPRegressor, from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore:.*(aximum iterations|failed to converge)")

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
Theirs = sklearn.neural_network.MLPRegressor


@parametrize_with_checks(
    [
        MLPRegressor(max_iter=100),
        MLPRegressor(max_iter=100, dtype="float32"),
        MLPRegressor(max_iter=100, standardize=True, dtype="float64"),
        MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs"),
        MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", dtype="float32"),
        MLPRegressor(solver="sgd", learning_rate="adaptive", max_iter=300),
        MLPRegressor(hidden_layer_sizes=(16, 8), activation="tanh", max_iter=100),
        MLPRegressor(hidden_layer_sizes=(16, 8), activation=("gelu", "tanh"), loss="huber", max_iter=100),
        MLPClassifier(max_iter=100),
        MLPClassifier((8,), solver="lbfgs"),
        MLPClassifier((16, 8), activation="tanh", standardize=True, max_iter=100),
        MLPClassifier(solver="sgd", learning_rate="adaptive", max_iter=300),
    ]
)
def test_checks_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def data(n=120, outputs=1, seed=0):
    X, y = make_regression(n, 5, n_targets=outputs, noise=5, random_state=seed)
    return X, (y / np.std(y, axis=0)).reshape(n, outputs)[:, 0 if outputs == 1 else slice(None)]


def both(X, y, weights=None, **parameters):
    """The two estimators, fitted; nothing is shuffled, so they take the same steps."""
    # a tiny epsilon, as scikit-learn adds it elsewhere
    parameters = {
        "hidden_layer_sizes": (7,),
        "shuffle": False,
        "random_state": 3,
        "epsilon": 1e-15,
    } | parameters
    kwargs = {} if weights is None else {"sample_weight": weights}
    return MLPRegressor(**parameters).fit(X, y, **kwargs), Theirs(**parameters).fit(X, y, **kwargs)


def assert_same_fit(ours, theirs, rtol=1e-6):
    for mine, other in zip(
        [*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-3)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam", "batch_size": 40},
        {"solver": "adam"},
        {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "learning_rate_init": 0.01},
        {"solver": "sgd", "batch_size": 40, "learning_rate_init": 0.01},
        {"solver": "sgd", "batch_size": 40, "nesterovs_momentum": False, "alpha": 0.5},
        {"solver": "sgd", "batch_size": 30, "momentum": 0},
        {"solver": "sgd", "batch_size": 50, "alpha": 0.1},  # 20 rows in the last batch
        {"solver": "sgd", "batch_size": 40, "learning_rate": "invscaling", "learning_rate_init": 0.1},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-3, "n_iter_no_change": 2, "max_iter": 120},
    ],
)
def test_the_same_steps_as_scikit_learn(parameters, outputs):
    X, y = data(outputs=outputs)
    ours, theirs = both(X, y, **{"max_iter": 30} | parameters)
    assert_same_fit(ours, theirs)
    assert len(ours.loss_curve_) == ours.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-3)
    np.testing.assert_allclose(ours.best_loss_, theirs.best_loss_, rtol=1e-3)


@pytest.mark.parametrize("outputs", [1, 3])
def test_epsilon_means_the_same(outputs):
    """In the first step scikit-learn's is divided by sqrt(1 - beta_2)."""
    X, y = data(outputs=outputs)
    parameters = {"hidden_layer_sizes": (7,), "random_state": 3, "max_iter": 1}
    theirs = Theirs(epsilon=0.01, **parameters).fit(X, y)
    ours = MLPRegressor(epsilon=0.01 / np.sqrt(1 - 0.999), **parameters).fit(X, y)
    assert_same_fit(ours, theirs)


@pytest.mark.skipif(VERSION < (1, 7), reason="scikit-learn < 1.7 knows no sample weights here")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_same_steps_with_weights(solver):
    X, y = data()
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    assert_same_fit(*both(X, y, weights, solver=solver, max_iter=20))


def test_lbfgs_finds_the_same_minimum():
    X, y = data()
    ours, theirs = both(X, y, solver="lbfgs", alpha=1, tol=1e-6, max_iter=3000)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-3)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=0.02)


@pytest.mark.parametrize(
    "tolerance", [{"tol": 1e-2}, {"tol": 1e-2, "n_iter_no_change": 3}, {"n_iter_no_change": np.inf}]
)
def test_stops_when_scikit_learn_does(tolerance):
    X, y = data()
    ours, theirs = both(X, y, batch_size=40, max_iter=300, learning_rate_init=0.01, **tolerance)
    assert ours.n_iter_ == theirs.n_iter_
    assert (ours.n_iter_ == 300) == (tolerance == {"n_iter_no_change": np.inf})


def test_early_stopping_as_scikit_learn():
    X, y = data()
    parameters = {
        "early_stopping": True,
        "batch_size": 36,
        "max_iter": 400,
        "learning_rate_init": 0.02,
        "validation_fraction": 0.1,
    }
    ours, theirs = both(X, y, **parameters)
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-6)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    assert ours.best_loss_ is theirs.best_loss_ is None
    assert ours.n_iter_ < 400
    assert len(ours.validation_loss_curve_) == ours.n_iter_


def test_validation_data_of_the_user():
    X, y = data(outputs=2)
    weights = np.arange(1.0, 31)
    model = MLPRegressor(hidden_layer_sizes=(7,), max_iter=15, random_state=0)
    model.fit(X[30:], y[30:], X_val=X[:30], y_val=y[:30], sample_weight_val=weights)
    assert len(model.validation_loss_curve_) == 15
    assert model.validation_loss_curve_[-1] == pytest.approx(model.network_.loss(X[:30], y[:30], weights) / 2)
    assert model.validation_scores_ is None

    stopped = MLPRegressor(
        hidden_layer_sizes=(7,), max_iter=2000, learning_rate_init=0.03, random_state=0, early_stopping=True
    )
    stopped.fit(X[30:], y[30:], X_val=X[:30], y_val=y[:30], sample_weight_val=weights)
    assert stopped.n_iter_ < 2000
    assert stopped.t_ == 90 * stopped.n_iter_  # no row is set aside
    score = r2_score(y[:30], stopped.predict(X[:30]), sample_weight=weights)
    assert (
        score
        == pytest.approx(stopped.best_validation_score_)
        == pytest.approx(max(stopped.validation_scores_))
    )

    lbfgs = MLPRegressor(hidden_layer_sizes=(7,), solver="lbfgs", max_iter=15, random_state=0).fit(
        X, y, X_val=X[:30], y_val=y[:30]
    )
    assert len(lbfgs.validation_loss_curve_) == lbfgs.n_iter_
    assert lbfgs.validation_loss_curve_[-1] == pytest.approx(lbfgs.network_.loss(X[:30], y[:30]) / 2)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": np.ones((4, 5))}, "y_val"),
        ({"y_val": np.ones(4)}, "X_val"),
        ({"sample_weight_val": np.ones(4)}, "X_val"),
        ({"X_val": np.ones((4, 6)), "y_val": np.ones(4)}, "features"),
        ({"X_val": np.ones((4, 5)), "y_val": np.ones((4, 2))}, "y_val: must have 1 outputs"),
        (
            {"X_val": np.ones((4, 5)), "y_val": np.ones(4), "sample_weight_val": np.ones(3)},
            "^sample_weight_val: must have 4 rows",
        ),
    ],
)
def test_wrong_validation_data(validation, message):
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2)
    with pytest.raises(ValueError, match=message):
        model.fit(*data(), **validation)
    with pytest.raises(NotFittedError):
        model.predict(data()[0])


@pytest.mark.skipif(VERSION < (1, 7), reason="scikit-learn < 1.7 knows no sample weights here")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_uneven_weights_of_batches_and_a_strong_penalty(solver):
    """alpha is divided by the weight of each batch."""
    X, y = data(n=101)
    weights = np.random.default_rng(0).uniform(0.1, 3, 101)
    ours, theirs = both(X, y, weights, solver=solver, alpha=2.0, batch_size=40, max_iter=20)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [False, True])
def test_early_stopping_can_be_switched_between_warm_starts(first):
    X, y = data()
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, warm_start=True, early_stopping=first).fit(X, y)
    model.set_params(early_stopping=not first).fit(X, y)
    assert len(model.loss_curve_) == 6
    assert len(model.validation_scores_) == 3
    assert np.isfinite(model.best_validation_score_ if not first else model.best_loss_)


@pytest.mark.parametrize("standardize", [False, True])
def test_lbfgs_interrupted(monkeypatch, standardize):
    X, y = data()
    parameters = dict(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0, standardize=standardize)
    model = MLPRegressor(verbose=True, **parameters)

    def interrupt(text):
        if model.n_iter_ == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    expected = MLPRegressor(max_iter=4, **parameters).fit(X, y)
    np.testing.assert_array_equal(model.network_.parameters, expected.network_.parameters)
    assert np.isclose(model.loss_, expected.loss_, rtol=1e-12)


def test_divergence_in_the_first_epoch_names_the_rate_given():
    X, y = data()
    model = MLPRegressor(hidden_layer_sizes=(3,), solver="sgd", learning_rate_init=1e4, batch_size=10)
    with (
        pytest.warns(RuntimeWarning, match=r"it is 10000\), or scale the data with standardize=True"),
        pytest.raises(ValueError, match=r"non-finite parameter weights.*learning_rate_init"),
    ):
        model.fit(1e3 * X, y)


@pytest.mark.parametrize(
    "how", [{}, {"solver": "sgd", "learning_rate": "adaptive"}, {"early_stopping": True}]
)
def test_says_what_scikit_learn_says(capsys, how):
    X, y = data()
    parameters = {"hidden_layer_sizes": (7,), "random_state": 3, "tol": 0.02, "n_iter_no_change": 2}
    for estimator in (MLPRegressor, Theirs):
        estimator(shuffle=False, verbose=True, epsilon=1e-15, batch_size=40, **parameters, **how).fit(X, y)
    lines = [line for line in capsys.readouterr().out.splitlines() if "did not improve" in line]
    assert lines
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]


def test_names_of_features_reach_the_network():
    X, y = data()
    frame = pl.DataFrame(X, schema=list("abcde"))
    assert MLPRegressor(max_iter=1).fit(frame, y).network_.feature_names == tuple("abcde")
    assert MLPRegressor(max_iter=1).fit(X, y).network_.feature_names is None


def test_memory_mapped_models_go_on(tmp_path):
    """joblib maps large arrays into memory, read-only: also those of the arguments of its processes."""
    X, y = data()
    model = MLPRegressor(hidden_layer_sizes=(7,), warm_start=True, max_iter=2, random_state=0).fit(X, y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not mapped.network_.parameters.flags.writeable
    assert not mapped._trainer._state.moments.flags.writeable
    for each in (model, mapped):
        each.partial_fit(X, y)
        each.fit(X, y)
    np.testing.assert_array_equal(mapped.predict(X), model.predict(X))
    net = joblib.load(tmp_path / "model", mmap_mode="r").network_
    with pytest.raises(ValueError, match=r"^network: its parameters are read-only"):
        Trainer(net).fit(X, y)
    np.testing.assert_array_equal(net.parameters, joblib.load(tmp_path / "model").network_.parameters)


@pytest.mark.parametrize(
    "parameters", [{}, {"solver": "sgd", "learning_rate": "invscaling"}, {"standardize": True}]
)
def test_partial_fit_goes_on(parameters):
    X, y = data()
    parameters = {"hidden_layer_sizes": (7,), "batch_size": 40, "random_state": 0} | parameters
    whole = MLPRegressor(max_iter=6, tol=0, **parameters).fit(X, y)
    parts = MLPRegressor(**parameters)
    for _ in range(6):
        parts.partial_fit(X, y)
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-6)
    assert len(parts.loss_curve_) == 6
    assert parts.t_ == whole.t_ == 6 * len(X)
    assert parts.n_iter_ == 1


def test_partial_fit_after_fit_is_one_more_epoch():
    X, y = data()
    five = MLPRegressor(hidden_layer_sizes=(7,), max_iter=5, random_state=0).fit(X, y).partial_fit(X, y)
    six = MLPRegressor(hidden_layer_sizes=(7,), max_iter=6, random_state=0).fit(X, y)
    np.testing.assert_array_equal(five.predict(X), six.predict(X))


def test_partial_fit_has_limits():
    X, y = data()
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="early_stopping"):
        MLPRegressor(early_stopping=True).partial_fit(X, y)
    model = MLPRegressor(hidden_layer_sizes=(7,)).partial_fit(X, y)
    with pytest.raises(ValueError, match="4 features"):
        model.partial_fit(X[:, :4], y)


def test_warm_start():
    X, y = data()
    model = MLPRegressor(hidden_layer_sizes=(7,), max_iter=5, warm_start=True, random_state=0).fit(X, y)
    network, loss = model.network_, model.loss_
    model.fit(X, y)
    assert model.network_ is network
    assert model.loss_ < loss
    assert len(model.loss_curve_) == 10
    assert model.n_iter_ == 5
    with pytest.raises(ValueError, match=r"\(8,\), and warm_start continues with the \(7,\) hidden units"):
        model.set_params(hidden_layer_sizes=8).fit(X, y)
    cold = MLPRegressor(hidden_layer_sizes=(7,), max_iter=5, random_state=0).fit(X, y)
    assert cold.fit(X, y).loss_ == pytest.approx(loss)


def test_defaults_are_scikit_learns():
    ours, theirs = MLPRegressor().get_params(), Theirs().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert {name: ours[name] for name in set(ours) - set(theirs) - {"loss"}} == {  # 1.6 has no loss
        "standardize": False,
        "dtype": None,
        "n_threads": None,
    }


def test_random_state():
    X, y = data()
    fitted = [
        MLPRegressor(hidden_layer_sizes=(7,), max_iter=3, random_state=state).fit(X, y).predict(X)
        for state in (0, 0, 1)
    ]
    np.testing.assert_array_equal(fitted[0], fitted[1])
    assert not np.array_equal(fitted[0], fitted[2])
    MLPRegressor(hidden_layer_sizes=(7,), max_iter=3, random_state=np.random.RandomState(0)).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"hidden_layer_sizes": 0}, ValueError, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (5, -1)}, ValueError, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": 2.5}, TypeError, "hidden_layer_sizes"),
        ({"activation": "sine"}, ValueError, "activation"),
        ({"activation": ("relu", "tanh")}, ValueError, "activation"),
        ({"loss": "log_loss"}, ValueError, "loss: must be one of 'squared_error'"),
        ({"loss": 3}, ValueError, "loss: must be one of 'squared_error'"),
        ({"loss": "poisson"}, ValueError, "^y: row 0 is -.*poisson needs finite targets >= 0"),
        ({"solver": "newton"}, ValueError, "solver"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate"),
        ({"learning_rate_init": 0}, ValueError, "^learning_rate_init"),
        ({"learning_rate_init": -1, "solver": "lbfgs"}, ValueError, "^learning_rate_init"),
        ({"epsilon": -1}, ValueError, "^epsilon: .* got -1"),
        ({"beta_1": 1.0}, ValueError, "^beta_1"),
        ({"beta_2": 1.5}, ValueError, "^beta_2"),
        ({"alpha": -1}, ValueError, "alpha"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"max_iter": 0}, ValueError, "max_iter"),
        ({"tol": np.nan}, ValueError, "tol"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change"),
        ({"validation_fraction": 1.0, "early_stopping": True}, ValueError, "validation_fraction"),
        ({"validation_fraction": 0.001, "early_stopping": True}, ValueError, "validation_fraction"),
        ({"dtype": "float16"}, ValueError, "dtype"),
        ({"n_threads": 0}, ValueError, "n_threads"),
        ({"momentum": 1.5, "solver": "sgd"}, ValueError, "momentum"),
    ],
)
def test_what_cannot_be_done_is_refused(parameters, error, message):
    model = MLPRegressor(**parameters)
    with pytest.raises(error, match=message):
        model.fit(*data())
    if "early_stopping" not in parameters:  # whose rows are drawn after the weights, as in scikit-learn
        with pytest.raises(NotFittedError):
            model.predict(data()[0])


def test_warnings():
    X, y = data()
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=2).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed"):
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, solver="lbfgs").fit(X, y)
    with pytest.warns(UserWarning, match="batch_size: 500 is more than"):
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, batch_size=500).fit(X, y)
    with pytest.warns(RuntimeWarning, match="standardize=True"):
        model = MLPRegressor(hidden_layer_sizes=(3,), solver="sgd", learning_rate_init=10, max_iter=50).fit(
            X * 1e6, y
        )
    assert np.isfinite(model.predict(X)).all()
    with pytest.warns(DataConversionWarning):
        assert MLPRegressor(hidden_layer_sizes=(3,), max_iter=2).fit(X, y.reshape(-1, 1)).predict(
            X
        ).shape == (120,)


def test_interrupted(monkeypatch):
    X, y = data()
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=50, random_state=0)
    record = model._record

    def interrupt(*args):
        record(*args)
        if model.n_iter_ == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(model, "_record", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert model.n_iter_ == 4


def test_weights_are_views_and_assignable():
    X, y = data()
    model = MLPRegressor(hidden_layer_sizes=(7,), max_iter=3).fit(X, y)
    assert [coef.shape for coef in model.coefs_] == [(5, 7), (7, 1)]
    assert [intercept.shape for intercept in model.intercepts_] == [(7,), (1,)]
    before = model.predict(X)
    model.intercepts_[1][:] += 1
    np.testing.assert_allclose(model.predict(X), before + 1)
    model.coefs_ = [np.zeros((5, 7)), np.zeros((7, 1))]
    model.intercepts_ = [np.zeros(7), np.full(1, 2.0)]
    np.testing.assert_array_equal(model.predict(X), 2.0)
    with pytest.raises(TypeError):
        model.coefs_[0] = np.zeros((5, 7))
    with pytest.raises(NotFittedError):
        MLPRegressor().predict(X)
    assert not hasattr(MLPRegressor(), "coefs_")


def test_dtypes():
    X, y = data()
    for given, parameter, expected in [
        ("float64", None, "float64"),
        ("float32", None, "float32"),
        ("float64", "float32", "float32"),
        ("int64", None, "float64"),
    ]:
        model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, dtype=parameter, random_state=0)
        model.fit(X.astype(given), y)
        assert model.network_.dtype == expected
        for X_dtype in ("float32", "float64"):
            predicted = model.predict(X.astype(X_dtype))
            assert predicted.dtype == np.result_type(expected, X_dtype)
            of_network = model.network_.predict(X)
            np.testing.assert_allclose(predicted, of_network, rtol=0, atol=1e-5 * np.abs(of_network).max())


def test_standardize_makes_raw_data_learnable():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    scores = {}
    for solver in ("adam", "lbfgs"):
        model = MLPRegressor(
            hidden_layer_sizes=(4,),
            solver=solver,
            standardize=True,
            max_iter=300,
            batch_size=32,
            alpha=1,
            random_state=0,
        )
        pipeline = make_pipeline(StandardScaler(), clone(model).set_params(standardize=False))
        target = (y - y.mean()) / y.std()
        scores[solver] = model.fit(X, y).score(X, y)
        assert scores[solver] == pytest.approx(pipeline.fit(X, target).score(X, target), abs=0.02)
        assert model.loss_ == pytest.approx(model.network_.loss(X, y) / 2, rel=0.02)
    assert min(scores.values()) > 0.5


def test_standardize_reports_half_the_mean_square_of_the_raw_targets():
    X, y = data()
    options = {"hidden_layer_sizes": (3,), "learning_rate_init": 1e-12, "batch_size": 120, "max_iter": 1}
    model = MLPRegressor(standardize=True, alpha=1.0, random_state=0, **options).fit(10 * X, 10 * y)
    assert model.loss_ == pytest.approx(np.mean((model.predict(10 * X) - 10 * y) ** 2) / 2, rel=1e-6)
    assert model.loss_curve_ == [model.loss_]


def test_standardize_goes_on_from_where_it_was():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    for parameters in ({"solver": "lbfgs"}, {"batch_size": 32, "learning_rate_init": 0.01}):
        model = MLPRegressor(
            hidden_layer_sizes=(4,),
            standardize=True,
            warm_start=True,
            max_iter=40,
            random_state=0,
            **parameters,
        )
        first = model.fit(X, y).loss_
        assert model.set_params(max_iter=1).fit(X, y).loss_ < 1.02 * first


def test_standardize_counts_tol_in_variances():
    X, y = data()
    n_iter = [
        MLPRegressor(
            hidden_layer_sizes=(4,), standardize=True, tol=1e-2, max_iter=300, batch_size=40, random_state=0
        )
        .fit(X, scale * y)
        .n_iter_
        for scale in (1e-3, 1, 1e3)
    ]
    assert n_iter[0] == n_iter[1] == n_iter[2] < 300


def test_to_sklearn_can_go_on_with_early_stopping():
    X, y = data()
    ours = MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, max_iter=5, random_state=0).fit(X, y)
    theirs = ours.to_sklearn().set_params(warm_start=True, max_iter=1)
    theirs.best_validation_score_ = 1.0  # not to be improved on: the best weights are those it came with
    np.testing.assert_allclose(theirs.fit(X, y).predict(X), ours.predict(X))


def test_both_ways(tmp_path):
    for dtype in ("float64", "float32"):
        X, y = data(outputs=2)
        X = X.astype(dtype)
        theirs = Theirs(hidden_layer_sizes=(6,), max_iter=20, random_state=0).fit(X, y)
        ours = from_sklearn(theirs)
        assert ours.network_.trained
        tolerance = {"atol": 1e-5 if dtype == "float32" else 1e-12}
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), **tolerance)
        assert ours.predict(X).dtype == dtype
        assert ours.get_params().keys() >= theirs.get_params().keys()
        assert ours.loss_curve_ == theirs.loss_curve_
        ours.partial_fit(X, y)
        back = ours.to_sklearn()
        np.testing.assert_allclose(back.predict(X), ours.predict(X), **tolerance)
        back.partial_fit(X, y)
        assert back.n_features_in_ == 5
        assert len(back.loss_curve_) == 22
    ours.network_.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(MLP.load(tmp_path / "net.safetensors").predict(X), ours.predict(X))
    with pytest.raises(TypeError, match="estimator"):
        MLPRegressor.from_sklearn(sklearn.neural_network.MLPClassifier())
    with pytest.raises(NotFittedError):
        MLPRegressor.from_sklearn(Theirs())
    for parameters, message in (
        ({"activation": "gelu"}, "activation: scikit-learn has one of"),
        (
            {"activation": ("relu", "tanh"), "hidden_layer_sizes": (3, 3)},
            "activation: scikit-learn has one of",
        ),
        ({"loss": "huber"}, "loss: scikit-learn has no huber"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPRegressor(max_iter=2, **parameters).fit(X, y).to_sklearn()


@pytest.mark.parametrize(
    "dump", [lambda model: pickle.loads(pickle.dumps(model)), lambda model: joblib_copy(model)]
)
def test_pickled_models_predict_and_go_on(dump):
    X, y = data()
    model = MLPRegressor(hidden_layer_sizes=(7,), max_iter=5, random_state=0).fit(X, y)
    copy = dump(model)
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    np.testing.assert_array_equal(copy.partial_fit(X, y).predict(X), model.partial_fit(X, y).predict(X))


def joblib_copy(model):
    import io

    import joblib

    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def test_grid_search_in_two_processes():
    X, y = data()
    pipeline = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=20, random_state=0)
    )
    search = GridSearchCV(pipeline, {"mlpregressor__alpha": [1e-4, 1e-1]}, n_jobs=2, cv=3).fit(X, y)
    alone = GridSearchCV(pipeline, {"mlpregressor__alpha": [1e-4, 1e-1]}, cv=3).fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


def test_metadata_routing():
    X, y = data()
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=5, random_state=0).set_fit_request(
            sample_weight=True, X_val=True, y_val=True
        )
        model.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        pipeline.fit(X, y, sample_weight=weights, X_val=X[:10], y_val=y[:10])
        assert len(pipeline[-1].validation_loss_curve_) == 5
        plain = clone(model).set_fit_request(X_val=False, y_val=False)
        scores = cross_val_score(plain, X, y, params={"sample_weight": weights}, cv=3)
        assert np.isfinite(scores).all()


def test_frames():
    X, y = load_linnerud(return_X_y=True, as_frame=True)
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0).fit(X, y)
    assert list(model.feature_names_in_) == list(X.columns)
    assert model.predict(X).shape == (20, 3)
    plain = MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0).fit(X.to_numpy(), y.to_numpy())
    np.testing.assert_array_equal(plain.predict(X.to_numpy()), model.predict(X))
    other = MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0).fit(
        pl.from_pandas(X), pl.from_pandas(y)
    )
    np.testing.assert_array_equal(other.predict(pl.from_pandas(X)), model.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"Chins": "Chin"}))


@pytest.mark.skipif(VERSION < (1, 9), reason="callbacks came with scikit-learn 1.9")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_of_scikit_learn(solver):
    told = []

    class Listener:
        def setup(self, estimator, context):
            told.append("setup")

        def teardown(self, estimator, context):
            told.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            told.append((context.task_name, fitted_estimator.score(X, y)))
            return len(told) == 5

    X, y = data()
    model = (
        MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=50, random_state=0)
        .set_callbacks(Listener())
        .fit(X, y)
    )
    assert [what if isinstance(what, str) else what[0] for what in told] == [
        "setup",
        *["epoch"] * 4,
        "fit",
        "teardown",
    ]
    assert told[4][1] == told[5][1] == pytest.approx(model.score(X, y))
    assert told[1][1] != told[2][1]
    assert model.n_iter_ == 4


def table(n=200, seed=5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1, 10, 100] + [50, 100, 1000]
    return X, X @ [1, 0.1, 0.01] + rng.normal(size=n) / 10


@pytest.mark.parametrize("rows", [[0], [3, 3, 3]])
def test_51_validation_data_whose_r2_says_nothing_are_refused(rows):
    X, y = table()
    model = MLPRegressor(early_stopping=True, standardize=True, max_iter=3)
    with pytest.raises(ValueError, match=r"^y_val: early_stopping goes by the R²"):
        model.fit(X, y, X_val=X[rows], y_val=y[rows])
    w = np.ones(20)
    w[1:] = 0
    with pytest.raises(ValueError, match=r"^y_val: .*a single row counts"):
        model.fit(X, y, X_val=X[:20], y_val=y[:20], sample_weight_val=w)
    model.set_params(early_stopping=False, n_iter_no_change=1, tol=1e9)
    assert len(model.fit(X, y, X_val=X[rows], y_val=y[rows]).validation_loss_curve_) > 0


def test_51_an_internal_split_with_equal_targets_is_refused():
    X, y = table(40)
    y[:] = 1
    y[0] = 2  # in the validation rows of some seeds only
    fitted = 0
    for seed in range(10):
        model = MLPRegressor(early_stopping=True, random_state=seed, max_iter=2, n_iter_no_change=1, tol=1e9)
        model.validation_fraction = 0.5
        with suppress(ValueError):
            model.fit(X, y)
            fitted += 1
        if not hasattr(model, "validation_scores_") or not model.validation_scores_:
            with pytest.raises(ValueError, match=r"^validation_fraction: early_stopping goes by the R²"):
                model.fit(X, y)
    assert 0 < fitted < 10


def test_51_targets_that_are_all_equal_can_be_fitted():
    X, _ = table(40)
    model = MLPRegressor(early_stopping=True, standardize=True, n_iter_no_change=1, tol=1e9, max_iter=9)
    assert np.isfinite(model.fit(X, np.full(40, 3.0)).predict(X)).all()  # as scikit-learn's does


@pytest.mark.parametrize("early_stopping", [False, True])
def test_52_rows_without_weight_are_no_rows(early_stopping):
    X, y = table(100)
    w = np.random.default_rng(1).random(100) < 0.2
    for seed in range(5):
        model = MLPRegressor(
            hidden_layer_sizes=(4,), early_stopping=early_stopping, random_state=seed, n_iter_no_change=2,
            tol=1e9, shuffle=False, batch_size=100, standardize=True, dtype="float64",
        )  # fmt: skip
        with warnings.catch_warnings(action="ignore"):
            with_zeros = clone(model).fit(X, y, w.astype(float))
            without = clone(model).fit(X[w], y[w], np.ones(w.sum()))
        np.testing.assert_allclose(with_zeros.predict(X), without.predict(X), rtol=1e-9)


def test_50_untransformed_validation_data_are_seen():
    X, y = table()
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    model = MLPRegressor(max_iter=3, n_iter_no_change=1, tol=1e9)
    with pytest.warns(UserWarning, match=r"^X_val: half of column 0 .*transform_input=\['X_val'\]"):
        model.fit(scaled[50:], y[50:], X_val=X[:50], y_val=y[:50])
    with pytest.warns(UserWarning, match=r"^y_val: half of column 0 .*transform y_val as y"):
        model.fit(scaled[50:], (y[50:] - y.mean()) / y.std(), X_val=scaled[:50], y_val=y[:50])


def test_50_ordinary_and_later_validation_data_warn_of_nothing():
    X, y = table()
    X[:, 0] = np.arange(200)  # time
    model = MLPRegressor(max_iter=3, n_iter_no_change=1, tol=1e9)
    for training, validation in ((slice(150), slice(150, None)), (slice(50, None), slice(50))):
        model.fit(X[training], y[training], X_val=X[validation], y_val=y[validation])


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("at", [1, 2, 12])
def test_38_an_interrupted_lbfgs_makes_no_other_pass(monkeypatch, at, standardize):
    X, y = table()
    calls = []
    gradients, losses = MLP.loss_and_gradients, MLP.loss

    def interrupted(net, *data):
        calls.append(None)
        if len(calls) == at:
            raise KeyboardInterrupt
        return gradients(net, *data)

    monkeypatch.setattr(MLP, "loss_and_gradients", interrupted)
    monkeypatch.setattr(MLP, "loss", lambda *_: pytest.fail("another pass"))
    model = MLPRegressor(
        hidden_layer_sizes=(4,), solver="lbfgs", alpha=0.1, standardize=standardize, random_state=0
    )
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert len(calls) == at
    if at < 12:
        assert np.isnan(model.loss_)
        return
    penalty = 0 if standardize else 0.1 / 200 / 2 * sum((W**2).sum() for W in model.coefs_)
    assert np.isclose(model.loss_, losses(model.network_, X, y) / 2 + penalty)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon", 1e-46), ("learning_rate_init", 1e-46), ("beta_1", 1 - 1e-9), ("momentum", 1 - 1e-9)],
)
def test_39_hyper_parameters_that_float32_rounds_away_are_named(name, value):
    X, y = table()
    model = MLPRegressor(dtype="float32", **{name: value})
    with pytest.raises(ValueError, match=rf"^{name}: must be .*in float32"):
        model.fit(X, y)


def test_weights_of_other_shapes_are_refused():
    X, y = table()
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, n_iter_no_change=1, tol=1e9).fit(X, y)
    before = model.network_.parameters.copy()
    for coefs in ([1.0, 2.0], [np.ones((1, 4)), np.ones((4, 1))], [np.ones((3, 4))]):
        with pytest.raises(ValueError, match=r"^coefs_: must be arrays of shapes \[\(3, 4\), \(4, 1\)\]"):
            model.coefs_ = coefs
    with pytest.raises(ValueError, match=r"^intercepts_: "):
        model.intercepts_ = [0.0, 0.0]
    assert (model.network_.parameters == before).all()


@pytest.mark.parametrize("learning_rate", ["invscaling", "adaptive"])
def test_schedules_need_one_fit_of_the_trainer(monkeypatch, learning_rate):
    """And one compiled loop, which changes its rate."""
    X, y = table()
    loops, fit_loop = [], kernels.fit_loop
    monkeypatch.setattr(kernels, "fit_loop", lambda dtype: loops.append(dtype) or fit_loop(dtype))
    settings = dict(solver="sgd", learning_rate=learning_rate, tol=1e9, n_iter_no_change=2, max_iter=9)
    model = MLPRegressor(hidden_layer_sizes=(4,), **settings)
    with warnings.catch_warnings(action="ignore"):
        model.fit(X, y)
    assert len(loops) == 1
    assert model._trainer.optimizer.learning_rate < model.learning_rate_init


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_41_weights_of_a_constant_feature_are_0_in_every_solver(solver):
    X, y = table()
    X[:, 1] = 7
    model = MLPRegressor(hidden_layer_sizes=(4,), solver=solver, standardize=True, alpha=0.1, max_iter=20)
    with warnings.catch_warnings(action="ignore"):
        model.fit(X, y)
    assert (model.coefs_[0][1] == 0).all()
    assert model.coefs_[0][0].any()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_40_what_float32_cannot_hold_is_warned_of(solver):
    X, y = table()
    model = MLPRegressor(
        hidden_layer_sizes=(4,), solver=solver, standardize=True, learning_rate_init=0.01, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.set_params(dtype="float32").fit(X, 1.7e9 + y)
        said = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
        assert len(said) == 1
        assert "float32 does not hold the differences in column 0 of y" in said[0]
        del caught[:]
        model.set_params(dtype="float64").fit(X, 1.7e9 + y)
        assert not [warning for warning in caught if warning.category is RuntimeWarning]


def test_an_adaptive_warm_start_goes_on_as_scikit_learns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 4))
    y = X @ [1, 2, -1, 0.5] + np.sin(3 * X[:, 0]) + 0.1 * rng.normal(size=150)
    settings = dict(hidden_layer_sizes=(5,), solver="sgd", learning_rate="adaptive", learning_rate_init=0.05)
    settings |= dict(
        batch_size=50, tol=0.01, n_iter_no_change=2, shuffle=False, random_state=0, warm_start=True
    )
    epochs = []
    for kind in (MLPRegressor, sklearn.neural_network.MLPRegressor):
        model = kind(**settings, max_iter=400)
        epochs.append([model.fit(X, y).n_iter_ for _ in range(2)])
    assert epochs[0] == epochs[1]
