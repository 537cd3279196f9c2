"""The table of objectives: what each takes, its borders, and the statistic that minimises it."""

import numpy as np
import pytest
from scipy import optimize

from fastmlp import MLP, Trainer, kernels, objectives
from fastmlp.objectives import (
    OBJECTIVES,
    AbsoluteError,
    BinaryLogLoss,
    Gamma,
    Huber,
    LogLoss,
    Poisson,
    Quantile,
    SquaredError,
)


def loss_and_slopes(objective, raw, Y):
    """By the kernels: of the network without layers in between, whose inputs are its raw outputs."""
    raw = np.asarray(raw, float)
    m = raw.shape[1]
    identity = np.vstack([np.eye(m), np.zeros(m)])
    return kernels.loss_and_gradients(raw, Y, (identity,), objective=objective)


def test_kernels_have_a_branch_for_each_row(build):
    module = kernels.module("float32")
    assert tuple(OBJECTIVES) == module.OBJECTIVES
    assert {row.link_name for row in objectives.ROWS} == set(module.LINKS)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_says_everything(name):
    row = OBJECTIVES[name]
    assert row.name == name
    assert row.degree in (None, 1, 2)
    assert objectives.resolve(name) == row()
    assert objectives.from_description(objectives.described(row())) == row()
    assert "Examples" in row.__doc__


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("hinge", "objective: must be one of"),
        (None, "objective"),
        (SquaredError, "objective"),
        (objectives.Objective(), "objective"),
    ],
)
def test_what_is_no_objective(objective, message):
    with pytest.raises(ValueError, match=message):
        MLP((3, 4, 1), objective=objective)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Huber(0),
        lambda: Huber(np.nan),
        lambda: Quantile(()),
        lambda: Quantile((0.9, 0.1)),
        lambda: Quantile((0.0,)),
        lambda: Quantile((0.5, 0.5)),
        lambda: BinaryLogLoss(1.0),
        lambda: LogLoss(-0.1),
        lambda: MLP((3, 4, 1), objective="log_loss"),
        lambda: MLP((3, 4, 3), objective="quantile"),
        lambda: MLP((3, 4, 1), objective=Quantile((0.1, 0.9))),
        lambda: objectives.parse("huber:1,2"),
        lambda: objectives.parse("huber:x"),
        lambda: objectives.parse("poisson:3"),
        lambda: objectives.parse("hinge"),
    ],
)
def test_parameters_that_do_not_fit(call):
    with pytest.raises(ValueError, match=r"^(delta|levels|label_smoothing|sizes|objective): "):
        call()


@pytest.mark.parametrize(
    ("objective", "outputs", "bad", "message"),
    [
        ("poisson", 1, [1.0, 2.0, -1.0], r"y: row 2 is -1\.0; poisson needs finite targets >= 0"),
        ("poisson", 2, [[1.0, 0.0], [1.0, np.inf]], "y: row 1"),
        ("gamma", 1, [1.0, 0.0], r"y: row 1 is 0\.0; gamma needs"),
        ("gamma", 1, [np.nan, 1.0], "y: row 0"),
        ("binary_log_loss", 1, [0.0, 1.0, 1.1], r"y: row 2 .* in \[0, 1\]"),
        ("binary_log_loss", 1, [-1e-9, 1.0], "y: row 0"),
        ("log_loss", 3, [0, 1, 3], r"y: row 2 is 3\.0; log_loss needs the number of a class, .* 0 to 2"),
        ("log_loss", 3, [0.0, 0.5], "y: row 1"),
        ("log_loss", 3, [-1, 0], "y: row 0"),
        ("log_loss", 2, [[0.5, 0.5], [0.5, 0.4]], "y: row 1 .*probabilities that add up to 1"),
        ("log_loss", 2, [[1.5, -0.5]], "y: row 0"),
        ("log_loss", 3, [[0.5, 0.5]], "y: must have 3 columns"),
        ("quantile", 1, [[1.0, 2.0]], "y: must have 1 columns"),
    ],
)
def test_targets_that_are_refused(objective, outputs, bad, message):
    net = MLP((2, 4, outputs), objective=objective, dtype="float64")
    X = np.ones((len(bad), 2))
    for call in (net.loss, net.loss_and_gradients, Trainer(net).fit):
        with pytest.raises(ValueError, match=message):
            call(X, bad)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("raw", [-1e300, -1e3, -30.0, -1e-300, 0.0, 1e-300, 30.0, 1e3, 1e300])
def test_extreme_raw_outputs(build, name, raw):
    """Finite where the truth is, and as the specification has it."""
    objective = OBJECTIVES[name]()
    outputs = 2 if name == "log_loss" else 1
    for y in {"poisson": [0.0, 3.0], "gamma": [0.5, 3.0], "log_loss": [0, 1]}.get(name, [0.0, 0.3, 1.0]):
        Y = np.array([[float(y)]])
        z = np.array([[raw] + [0.0] * (outputs - 1)])
        with np.errstate(all="ignore"):
            expected, slopes = objective.losses(z, Y)[0], objective.slopes(z, Y)
        loss, (dW,) = loss_and_slopes(objective, z, Y)
        np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-300)
        np.testing.assert_allclose(dW[-1], slopes[0], rtol=1e-12, atol=1e-300)
        if name not in ("squared_error", "poisson", "gamma"):
            assert np.isfinite(loss)
            assert np.isfinite(dW[-1]).all()


STATISTICS = [  # objective, targets -> the raw output that minimises it
    (SquaredError(), lambda y: y.mean()),
    (AbsoluteError(), np.median),
    (Quantile((0.2,)), lambda y: np.quantile(y, 0.2, method="inverted_cdf")),
    (Poisson(), lambda y: np.log(y.mean())),
    (Gamma(), lambda y: np.log(y.mean())),
    (BinaryLogLoss(), lambda y: np.log(y.mean() / (1 - y.mean()))),
]


@pytest.mark.parametrize(("objective", "statistic"), STATISTICS, ids=lambda value: str(value)[:12])
def test_the_constant_that_minimises_it_is_the_known_statistic(rng, objective, statistic):
    y = rng.gamma(2, size=201)
    if objective.name == "binary_log_loss":
        y = (y > 2).astype(float)

    def loss(constant):
        return loss_and_slopes(objective, np.full((len(y), 1), constant), y[:, None])[0]

    found = optimize.minimize_scalar(loss, bounds=(-5, 10), method="bounded", options={"xatol": 1e-9}).x
    np.testing.assert_allclose(found, statistic(y), atol=1e-4)


def test_the_constant_that_minimises_log_loss_has_the_frequencies(rng):
    y = rng.choice(3, size=400, p=[0.2, 0.3, 0.5])
    frequencies = np.bincount(y) / len(y)
    _, (dW,) = loss_and_slopes(LogLoss(), np.tile(np.log(frequencies), (len(y), 1)), y[:, None])
    np.testing.assert_allclose(dW[-1], 0, atol=1e-14)


def test_binary_is_two_class_softmax(rng):
    z, y = rng.normal(size=(50, 1)) * 5, rng.integers(2, size=50)
    binary, (dW,) = loss_and_slopes(BinaryLogLoss(0.1), z, y[:, None])
    both, (dV,) = loss_and_slopes(LogLoss(0.1), np.hstack([0 * z, z]), y[:, None])
    np.testing.assert_allclose(binary, both, rtol=1e-13)
    np.testing.assert_allclose(dW[-1], dV[-1, 1:], rtol=1e-12)


def test_numbers_of_classes_are_their_probabilities(rng):
    z, y = rng.normal(size=(50, 4)), rng.integers(4, size=50)
    for smoothing in (0.0, 0.2):
        numbers = loss_and_slopes(LogLoss(smoothing), z, y)
        probabilities = loss_and_slopes(LogLoss(smoothing), z, np.eye(4)[y])
        np.testing.assert_allclose(numbers[0], probabilities[0], rtol=1e-13)
        np.testing.assert_allclose(numbers[1][0], probabilities[1][0], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_smoothing_is_as_documented(rng, smoothing):
    z, y = rng.normal(size=(20, 3)), rng.integers(3, size=20)
    t = np.eye(3)[y] * (1 - smoothing) + smoothing / 3
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        loss_and_slopes(LogLoss(smoothing), z, y)[0], -(t * np.log(p)).sum(axis=1).mean(), rtol=1e-12
    )


def test_quantiles_never_cross(build, rng):
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    net = MLP((3, 8, 5), objective=Quantile(levels), seed=3)
    X = rng.normal(size=(500, 3)).astype("f4")
    raw, sorted_ = net.predict(X, raw=True), net.predict(X)
    assert (np.diff(raw, axis=1) < 0).any()
    np.testing.assert_array_equal(sorted_, np.sort(raw, axis=1))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_predictions_are_the_link_of_the_raw_outputs(build, rng, name):
    outputs = 3 if name == "log_loss" else 1
    net = MLP((3, 8, outputs), objective=name, dtype="float64", seed=3)
    for n in (1, 5, 100):
        X = 30 * rng.normal(size=(n, 3))
        raw = net.predict(X, raw=True).reshape(n, -1)
        np.testing.assert_allclose(net.predict(X).reshape(n, -1), net.objective.link(raw), rtol=1e-13)


SCALED = [(SquaredError(), 2), (AbsoluteError(), 1), (Huber(3.0), 2), (Quantile((0.1, 0.9)), 1)]


@pytest.mark.parametrize(("objective", "degree"), SCALED, ids=lambda value: str(value)[:12])
def test_losses_are_reported_in_raw_units(rng, objective, degree):
    """With standardize=True the loss of an epoch is that of the network that takes raw values."""
    outputs = len(objective.levels) if isinstance(objective, Quantile) else 2
    columns = 1 if isinstance(objective, Quantile) else 2
    X = 50 + 20 * rng.normal(size=(64, 3))
    Y = 300 + 70 * rng.normal(size=(64, columns)) * [[1, 9]][0][:columns]
    net = MLP((3, 6, outputs), objective=objective, dtype="float64", seed=1)
    trainer = Trainer(net, "sgd", 1e-9, batch_size=None, standardize=True)
    trainer.fit(X, Y, epochs=1)
    history = trainer.fit(X, Y, epochs=1)
    np.testing.assert_allclose(history.loss[0], net.loss(X, Y), rtol=1e-6)


@pytest.mark.parametrize("objective", [Poisson(), Gamma()])
def test_rates_start_at_the_log_of_the_mean(rng, objective):
    X, y = rng.normal(size=(200, 3)), 1000 * rng.gamma(3, size=200)
    net = MLP((3, 4, 1), objective=objective, dtype="float64", init="glorot")
    net.weights[0][:] = 0
    Trainer(net, "sgd", 1e-12, batch_size=None, standardize=True).fit(X, y, epochs=1)
    np.testing.assert_allclose(net.predict(X), y.mean(), rtol=1e-6)


def test_what_is_learnt_is_what_was_asked_for(rng):
    """A quantile network covers its share, a classifier sorts three blobs, a rate is a rate."""
    X = rng.uniform(-1, 1, size=(4000, 1))
    y = X[:, 0] + (0.2 + 0.3 * (X[:, 0] > 0)) * rng.normal(size=4000)
    net = MLP((1, 16, 16, 2), activation="tanh", objective=Quantile((0.1, 0.9)), seed=0)
    Trainer(net, learning_rate=0.01, batch_size=256, seed=0, standardize=True).fit(X, y, epochs=60)
    low, high = net.predict(X).T
    assert abs(np.mean((y >= low) & (y <= high)) - 0.8) < 0.05

    centres = np.array([[0, 0], [3, 0], [0, 3]])
    label = rng.integers(3, size=900)
    points = centres[label] + 0.5 * rng.normal(size=(900, 2))
    net = MLP((2, 16, 3), activation="silu", objective="log_loss", seed=0)
    Trainer(net, learning_rate=0.02, seed=0).fit(points, label, epochs=20)
    assert np.mean(net.predict(points).argmax(axis=1) == label) > 0.97

    rate = np.exp(1 + X[:, 0])
    net = MLP((1, 8, 1), activation="softplus", objective="poisson", seed=0)
    Trainer(net, learning_rate=0.02, batch_size=256, seed=0).fit(X, rng.poisson(rate), epochs=40)
    assert np.corrcoef(net.predict(X), rate)[0, 1] > 0.98
