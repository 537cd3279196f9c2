import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial

import numpy as np
import programs
import pytest

import fastmlp
from fastmlp import MLP, SGD, Adam, AdamW, Trainer, reference
from fastmlp.objectives import SquaredError
from fastmlp.scaling import fit_scaling, transform
from fastmlp.training import data

OPTIMIZERS = {
    "sgd": (SGD(learning_rate=0.05), reference.sgd_step),
    "momentum": (SGD(learning_rate=0.05, momentum=0.9), reference.sgd_step),
    "nesterov": (SGD(learning_rate=0.05, momentum=0.9, nesterov=True), reference.sgd_step),
    "adam": (Adam(learning_rate=0.01), reference.adam_step),
    "adam with other betas": (Adam(learning_rate=0.01, beta1=0.5, beta2=0.9, eps=1e-3), reference.adam_step),
    "adamw": (AdamW(learning_rate=0.01, weight_decay=0.1), reference.adam_step),
}
STEPS, BATCH = 10, 6


def problem(rng, m=1, n=STEPS * BATCH, dtype="float64"):
    X, Y = rng.normal(size=(n, 3)).astype(dtype), rng.normal(size=(n, m)).astype(dtype)
    return X, Y, rng.uniform(0.2, 2, n).astype(dtype)


class Reference:
    """The trainer's loop, written with fastmlp.reference."""

    def __init__(self, net, optimizer, step):
        self.weights = [W.copy() for W in net.weights]
        self.moments = np.zeros((2, net.parameters.size), net.dtype)
        self.step = partial(step, **asdict(optimizer))
        self.steps = 0

    def epoch(self, X, Y, batches, w=None, l2=0.0):
        self.steps, loss = reference.train_epoch(
            X, Y, self.weights, self.moments, self.steps, self.step, batches, sample_weight=w, l2=l2
        )
        return loss

    @property
    def parameters(self):
        return np.concatenate([W.ravel() for W in self.weights])


def in_batches(order, size):
    return [order[i : i + size] for i in range(0, len(order), size)]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trajectory_is_that_of_the_reference(build, rng, name, m, weighted, l2, dtype):
    """The weights after each of ten mini-batch steps."""
    optimizer, step = OPTIMIZERS[name]
    X, Y, w = problem(rng, m, dtype=dtype)
    w = w if weighted else None
    expected = Reference(MLP((3, 5, m), dtype=dtype, seed=1), optimizer, step)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for steps in range(1, STEPS + 1):
        net = MLP((3, 5, m), dtype=dtype, seed=1)
        trainer = Trainer(net, optimizer, batch_size=BATCH, l2=l2, shuffle=False)
        rows = steps * BATCH
        trainer.fit(X[:rows], Y[:rows], epochs=1, sample_weight=None if w is None else w[:rows])
        expected.epoch(X, Y, [np.arange(rows - BATCH, rows)], w, l2)
        np.testing.assert_allclose(net.parameters, expected.parameters, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_continued_fits_are_the_reference_too(build, rng, name):
    """Ten full-batch fits of one step: moments and step count go on."""
    optimizer, step = OPTIMIZERS[name]
    X, Y, _ = problem(rng)
    net = MLP((3, 5, 1), dtype="float64", seed=1)
    trainer = Trainer(net, optimizer, batch_size=None)
    expected = Reference(net, optimizer, step)
    for _ in range(STEPS):
        history = trainer.fit(X, Y, epochs=1)
        loss = expected.epoch(X, Y, [np.arange(len(X))])
        np.testing.assert_allclose(net.parameters, expected.parameters, rtol=1e-12)
        np.testing.assert_allclose(history.loss, [loss], rtol=1e-12)


@pytest.mark.parametrize("hidden", [5, 33])
def test_shuffled_epochs_are_the_reference(build, rng, hidden):
    """Orders, the smaller last batch and the reported losses, over several epochs."""
    X, Y, w = problem(rng, n=53)
    optimizer, step = OPTIMIZERS["adam"]
    net = MLP((3, hidden, 1), dtype="float64", seed=1)
    expected = Reference(net, optimizer, step)
    history = Trainer(net, optimizer, batch_size=8, seed=7).fit(X, Y, epochs=5, sample_weight=w)
    rng = np.random.default_rng(7)
    losses = [expected.epoch(X, Y, in_batches(reference.permutation(53, rng), 8), w) for _ in range(5)]
    np.testing.assert_allclose(net.parameters, expected.parameters, rtol=1e-10)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-10)
    assert history.validation_loss == []
    assert len(history.seconds) == 5
    assert all(seconds > 0 for seconds in history.seconds)
    assert history.stop_reason == "epochs"
    assert history.best_epoch == int(np.argmin(losses))


@pytest.mark.parametrize("n", [2, 3, 100, 300_000])  # of so many, a dozen draws are rejected
def test_every_row_is_drawn_in_the_order_of_the_reference(n):
    """A rate so small that nothing moves, and targets that tell the rows: which batch saw which row."""
    X, y = np.zeros((n, 1)), 2.0 ** -np.arange(n) if n <= 3 else np.arange(n, dtype=float)
    net = MLP((1, 1, 1), dtype="float64")
    net.parameters[:] = 0
    optimizer = SGD(learning_rate=1.0)
    history = Trainer(net, optimizer, batch_size=1, seed=5).fit(X, y, epochs=1)
    order = reference.permutation(n, np.random.default_rng(5))
    # with one output bias b and rate 1, b becomes b - 2 (b - y): the trace of the order
    b, loss = 0.0, 0.0
    for i in order:
        loss += (b - y[i]) ** 2
        b -= 2 * (b - y[i])
    assert np.isclose(net.weights[1][-1, 0], b, rtol=1e-12)
    assert np.isclose(history.loss[0], loss / n, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 20, 21])
def test_one_batch_an_epoch_draws_nothing(rng, batch_size):
    X, y, _ = problem(rng, n=20)
    trainers = [
        Trainer(MLP((3, 5, 1), dtype="float64"), batch_size=batch_size, shuffle=shuffle, seed=1)
        for shuffle in (False, True)
    ]
    losses = [trainer.fit(X, y, epochs=5).loss for trainer in trainers]
    assert losses[0] == losses[1]
    assert trainers[1]._state.bit_generator.state == np.random.default_rng(1).bit_generator.state


@pytest.mark.parametrize("settings", [{}, {"standardize": True}, {"optimizer": "sgd", "batch_size": None}])
def test_continuation_has_the_same_bits(settings):
    X, y = fastmlp.load_titanic()
    nets = [MLP((3, 4, 1), seed=1) for _ in range(2)]
    settings = {"learning_rate": 1e-6} | settings
    trainers = [Trainer(net, seed=2, **settings) for net in nets]
    whole = trainers[0].fit(X, y, epochs=7).loss
    parts = trainers[1].fit(X, y, epochs=3).loss + trainers[1].fit(X, y, epochs=4).loss
    assert whole == parts
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


def test_same_seed_same_bits(build):
    X, y = fastmlp.load_titanic()
    runs = []
    for seed in (3, 3, 4):
        net = MLP((3, 4, 1), seed=1)
        Trainer(net, seed=seed, standardize=True).fit(X, y, epochs=5)
        runs.append(net.parameters)
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_standardize_is_training_on_standardised_data(tmp_path, rng, m, weighted):
    X = rng.normal(size=(90, 3)) * [1, 100, 0.01] + [0, 1000, 5]
    Y = rng.normal(size=(90, m)) * 50 + 30
    w = rng.uniform(size=90) if weighted else None
    scaling = fit_scaling(X, Y, w, SquaredError(), Y.shape[1])
    Xs, Ys = transform(X, Y, scaling)
    np.testing.assert_allclose(np.average(Xs, axis=0, weights=w), 0, atol=1e-12)
    np.testing.assert_allclose(np.average(Ys**2, axis=0, weights=w), 1, rtol=1e-12)

    raw, scaled = MLP((3, 5, m), dtype="float64", seed=4), MLP((3, 5, m), dtype="float64", seed=4)
    settings = dict(optimizer="adam", learning_rate=0.01, seed=4)
    history = Trainer(raw, standardize=True, **settings).fit(
        X, Y, epochs=4, sample_weight=w, validation_data=(X, Y)
    )
    Trainer(scaled, **settings).fit(Xs, Ys, epochs=4, sample_weight=w)
    expected = scaled.predict(Xs).reshape(90, m) * scaling.scale_y + scaling.mean_y
    np.testing.assert_allclose(raw.predict(X).reshape(90, m), expected, rtol=1e-10, atol=1e-10)
    assert np.isclose(history.validation_loss[-1], raw.loss(X, Y), rtol=1e-9)  # in raw units
    raw.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(MLP.load(tmp_path / "net.safetensors").predict(X), raw.predict(X))


@pytest.mark.parametrize("loaded", [False, True])
def test_standardize_goes_on_from_a_trained_network(tmp_path, loaded):
    X, y = fastmlp.load_titanic()
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    Trainer(net, learning_rate=0.01, seed=1, standardize=True).fit(X, y, epochs=100)
    if loaded:
        net.save(tmp_path / "net.safetensors")
        net = MLP.load(tmp_path / "net.safetensors")
    before = net.loss(X, y)
    trained = net.parameters.copy()
    Trainer(net, SGD(learning_rate=1e-12), standardize=True).fit(X, y, epochs=1)
    np.testing.assert_allclose(net.parameters, trained, rtol=1e-6)
    assert np.isclose(net.loss(X, y), before, rtol=1e-6)


def test_standardize_takes_constant_columns(rng):
    X = np.hstack([rng.normal(size=(40, 2)), np.full((40, 1), 0.1)])
    net = MLP((3, 4, 1), seed=1)
    Trainer(net, standardize=True, seed=1).fit(X, np.full(40, 7.0), epochs=3)
    assert np.isfinite(net.predict(X)).all()


def test_a_constant_column_is_only_moved():
    X, y = np.array([[1.0, 7.0], [3.0, 7.0]]), np.array([[5.0], [5.0]])
    scaling = fit_scaling(X, y, None, SquaredError(), 1)
    np.testing.assert_array_equal(scaling.scale_x, [1, 1])
    np.testing.assert_array_equal(scaling.scale_y, [1])
    scaled = transform(X, y, scaling)
    np.testing.assert_array_equal(scaled[0], [[-1, 0], [1, 0]])
    np.testing.assert_array_equal(scaled[1], [[0], [0]])
    np.testing.assert_array_equal(fit_scaling(4 * X, y, None, SquaredError(), 1).scale_x, [4, 1])


def test_changed_weights_are_what_the_next_fit_starts_from():
    X, y = fastmlp.load_titanic()
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    trainer = Trainer(net, SGD(learning_rate=1e-12), seed=1, standardize=True)
    trainer.fit(X, y, epochs=1)
    net.parameters *= 2
    wanted = net.predict(X)
    trainer.fit(X, y, epochs=1)
    np.testing.assert_allclose(net.predict(X), wanted, rtol=1e-6)


def test_validation_and_patience_restore_the_best():
    X, y = fastmlp.load_titanic()
    net = MLP((3, 20, 1), seed=1)
    trainer = Trainer(net, learning_rate=0.05, seed=1, standardize=True)
    history = trainer.fit(X[:100], y[:100], epochs=2000, validation_data=(X[100:], y[100:]), patience=30)
    assert history.stop_reason == "patience"
    best = int(np.argmin(history.validation_loss))
    assert history.best_epoch == best
    assert len(history.loss) == len(history.validation_loss) == len(history.seconds) == best + 31
    assert np.isclose(net.loss(X[100:], y[100:]), history.validation_loss[best], rtol=1e-4)


def test_a_row_of_validation_data_is_enough(rng):
    X, y, _ = problem(rng)
    net = MLP((3, 5, 1), dtype="float64", seed=1)
    history = Trainer(net, seed=1).fit(X, y, epochs=2, validation_data=(X[:1], y[:1]))
    assert len(history.validation_loss) == 2
    assert history.validation_loss[-1] == net.loss(X[:1], y[:1])


def test_best_is_restored_after_the_last_epoch_too():
    X, y = fastmlp.load_titanic()
    net = MLP((3, 20, 1), seed=1)
    validation = (X[100:], y[100:])
    history = Trainer(net, learning_rate=0.05, seed=1, standardize=True).fit(
        X[:100], y[:100], epochs=50, validation_data=validation, patience=50
    )
    assert history.stop_reason == "epochs"
    assert history.best_epoch < 49
    assert np.isclose(net.loss(*validation), min(history.validation_loss), rtol=1e-4)


def test_without_patience_the_last_weights_stay():
    X, y = fastmlp.load_titanic()
    net = MLP((3, 20, 1), seed=1)
    validation = (X[100:], y[100:])
    history = Trainer(net, learning_rate=0.05, seed=1, standardize=True).fit(
        X[:100], y[:100], epochs=50, validation_data=validation
    )
    assert np.isclose(net.loss(*validation), history.validation_loss[-1], rtol=1e-4)
    assert history.validation_loss[-1] > min(history.validation_loss)


def test_patience_on_the_training_loss(rng):
    """Full batch: the loss of an epoch is that of the weights at its start, to which it is restored."""
    X, Y, _ = problem(rng)
    net = MLP((3, 5, 1), dtype="float64", seed=1)
    trainer = Trainer(net, SGD(learning_rate=0.5, momentum=0.9), batch_size=None)
    history = trainer.fit(X, Y, epochs=500, patience=5)
    assert history.stop_reason == "patience"
    assert np.isclose(net.loss(X, Y), min(history.loss), rtol=1e-12)


def test_patience_keeps_last_weights_that_are_best(rng):
    X, Y, _ = problem(rng)
    net = MLP((3, 5, 1), dtype="float64", seed=1)
    history = Trainer(net, SGD(learning_rate=0.01), batch_size=None).fit(X, Y, epochs=10, patience=5)
    assert history.stop_reason == "epochs"
    assert net.loss(X, Y) < min(history.loss)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(3, 4, 1), (3, 17, 2)])
def test_nothing_to_learn_is_a_loss_of_exactly_0(build, rng, sizes, dtype):
    net = MLP(sizes, dtype=dtype)
    net.parameters[:] = 0
    X, Y = rng.normal(size=(100, 3)), np.zeros((100, sizes[2]))
    history = Trainer(net).fit(X, Y, 2, validation_data=(X, Y))
    assert history.loss == history.validation_loss == [0, 0]
    assert not net.parameters.any()


def test_callback_sees_every_epoch_and_stops():
    X, y = fastmlp.load_titanic()
    net = MLP((3, 4, 1), seed=1)
    seen = []

    def callback(epoch, history):
        seen.append((epoch, len(history.loss), net.loss(X, y)))
        return epoch == 4

    history = Trainer(net, learning_rate=0.01, seed=1, standardize=True).fit(
        X, y, epochs=50, callback=callback
    )
    assert history.stop_reason == "callback"
    assert [(epoch, length) for epoch, length, _ in seen] == [(i, i + 1) for i in range(5)]
    assert len({loss for *_, loss in seen}) == 5  # the network is up to date in each call
    assert seen[-1][2] == net.loss(X, y)


def test_callback_does_not_change_the_training():
    X, y = fastmlp.load_titanic()
    nets = [MLP((3, 4, 1), seed=1) for _ in range(2)]
    for net, callback in zip(nets, (None, lambda *_: None), strict=True):
        Trainer(net, seed=1, standardize=True).fit(X, y, epochs=5, callback=callback)
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


def test_21_exception_of_a_callback_comes_through_with_the_best_weights():
    X, y = fastmlp.load_titanic()
    net = MLP((3, 4, 1), seed=1)
    losses = []

    def callback(epoch, history):
        losses[:] = history.validation_loss
        if epoch == 7:
            raise RuntimeError("enough")

    trainer = Trainer(net, learning_rate=0.01, seed=1, standardize=True)
    with pytest.raises(RuntimeError, match="enough"):
        trainer.fit(X, y, callback=callback, validation_data=(X, y))
    assert len(losses) == 8
    assert np.isclose(net.loss(X, y), min(losses), rtol=1e-5)
    assert trainer.fit(X, y, epochs=1).stop_reason == "epochs"


def test_progress_bar(capsys):
    X, y = fastmlp.load_titanic()
    Trainer(MLP((3, 4, 1)), standardize=True).fit(X, y, epochs=20, progress=True)
    assert "20/20" in capsys.readouterr().err


def test_progress_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    X, y = fastmlp.load_titanic()
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[progress\]'"):
        Trainer(MLP((3, 4, 1))).fit(X, y, progress=True)


def test_batches_without_weight_are_passed_over(rng):
    X, Y, w = problem(rng, n=30)
    w[10:20] = 0
    optimizer, step = OPTIMIZERS["adam"]
    net = MLP((3, 5, 1), dtype="float64", seed=1)
    expected = Reference(net, optimizer, step)
    history = Trainer(net, optimizer, batch_size=10, shuffle=False).fit(X, Y, epochs=2, sample_weight=w)
    losses = [expected.epoch(X, Y, in_batches(np.arange(30), 10), w) for _ in range(2)]
    assert expected.steps == 4
    np.testing.assert_allclose(net.parameters, expected.parameters, rtol=1e-12)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)


def test_first_rows_without_weight_are_no_divergence():
    X, y = fastmlp.load_titanic()
    w = np.ones(1045)
    w[:1030] = 0
    net = MLP((3, 4, 1))
    assert Trainer(net, shuffle=False).fit(X, y, epochs=2, sample_weight=w).stop_reason == "epochs"


def test_a_bad_start_is_no_divergence():
    """The first loss is 10**20 times that of predicting 0, and the next one a hundred times as much."""
    X, y = np.array([[1.0], [1.0], [30.0], [30.0]]), np.ones(4)
    net = MLP((1, 1, 1), dtype="float64")
    net.parameters[:] = 1e5
    history = Trainer(net, SGD(1e-30), batch_size=2, shuffle=False).fit(X, y, epochs=2)
    assert history.stop_reason == "epochs"
    assert history.loss[0] > 1e22


def test_targets_of_zero_are_no_divergence():
    net = MLP((1, 2, 1), seed=1)
    net.parameters[:] = 0
    assert Trainer(net).fit(np.ones((5, 1)), np.zeros(5), epochs=3).loss == [0, 0, 0]


def test_inputs_are_used_without_a_copy_and_not_written_to():
    X, y = fastmlp.load_titanic()
    X, y = X.astype("float32"), y.astype("float32")
    for array in (X, y):
        array.flags.writeable = False
    X_used, y_used, _ = data.prepare(Trainer(MLP((3, 4, 1)))._state, X, y, None, None).training
    assert X_used is X
    assert np.shares_memory(y_used, y)
    Trainer(MLP((3, 4, 1)), standardize=True).fit(X, y, epochs=2)


def test_20_interrupt_returns_within_a_second():
    """Ctrl-C in the middle of a step that takes minutes."""
    command = [sys.executable, programs.SCRIPTS / "interrupted_step.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["interrupted", "True", "True", "epochs", "2", "True"], done.stderr


@pytest.mark.parametrize("validation", [False, True])
def test_20_interrupt_keeps_the_best_weights(validation):
    X, y = fastmlp.load_titanic()
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    data = (X, y) if validation else None

    def callback(epoch, history):
        if epoch == 30:
            signal.raise_signal(signal.SIGINT)

    trainer = Trainer(net, SGD(learning_rate=0.05), batch_size=None, seed=1, standardize=True)
    history = trainer.fit(X, y, callback=callback, validation_data=data)
    assert history.stop_reason == "interrupted"
    assert len(history.loss) == 31
    assert np.isclose(net.loss(X, y), min(history.validation_loss or history.loss), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [32, None])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("epochs", [1, 50])
def test_12_divergence_keeps_the_best_weights(dtype, batch_size, optimizer, epochs):
    X, y = fastmlp.load_titanic()
    net = MLP((3, 4, 1), dtype=dtype, seed=1)
    trainer = Trainer(net, optimizer, learning_rate=1e30, batch_size=batch_size, seed=1)
    before = net.loss(X, y)
    with pytest.warns(RuntimeWarning, match=r"(?s)learning rate.*standardize=True"):
        history = trainer.fit(X, y, epochs=epochs)
    assert history.stop_reason == "diverged"
    assert np.isfinite(net.parameters).all()
    assert net.loss(X, y) <= before
    # and the trainer is usable: no NaN has stayed in its memory
    trainer.optimizer = Adam(learning_rate=1e-3)
    assert trainer.fit(X, y, epochs=5).stop_reason == "epochs"
    assert net.loss(X, y) < before


def test_defaults_of_the_command_line_learn_the_titanic():
    """A start can die; best of five does not: at most 1930 for at least 9 of 10 seeds."""
    from functools import partial

    from fastmlp.cli import _best_of_starts, _parser

    X, y = fastmlp.load_titanic()

    class Bar:
        update = staticmethod(lambda epochs: None)

    good = 0
    for seed in range(10):
        arguments = _parser().parse_args(["train", "--seed", str(seed), "--dtype", "float32"])
        net, _ = _best_of_starts(arguments, partial(MLP, (3, 4, 1)), Bar, "all", X, y)
        good += net.loss(X, y) <= 1930
    assert good >= 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "net"}, "network"),
        ({"optimizer": "rmsprop"}, "optimizer.*'adam'"),
        ({"optimizer": Adam}, "optimizer"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 3.5}, "batch_size"),
        ({"l2": -1}, "l2"),
        ({"n_threads": 0}, "n_threads"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Trainer(**({"network": MLP((3, 4, 1))} | settings))


@pytest.mark.parametrize(
    "bad",
    [
        lambda: SGD(momentum=1.0),
        lambda: SGD(momentum=-0.1),
        lambda: Adam(beta2=1.0),
        lambda: Adam(beta1=-0.1),
        lambda: Adam(learning_rate=0),
        lambda: SGD(nesterov=True),
        lambda: Adam(beta1=1.0),
        lambda: Adam(eps=0),
        lambda: AdamW(weight_decay=-1),
        lambda: Adam(learning_rate=float("inf")),
    ],
)
def test_bad_hyper_parameters_are_errors(bad):
    with pytest.raises(ValueError, match=r"momentum|beta1|beta2|eps|weight_decay|learning_rate"):
        bad()


def test_hyper_parameters_by_default_and_at_the_ends_of_their_ranges():
    assert asdict(SGD()) == {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False}
    adam = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    assert asdict(Adam()) | {"weight_decay": 0.0} == adam
    assert asdict(AdamW()) == adam | {"weight_decay": 0.01}
    assert AdamW(beta1=0, beta2=0, weight_decay=0).beta1 == 0
    assert SGD(learning_rate=1e30).learning_rate == 1e30


def test_learning_rate_replaces_the_optimizers_own():
    trainer = Trainer(MLP((3, 4, 1)), AdamW(weight_decay=0.5), learning_rate=0.3)
    assert trainer.optimizer == AdamW(learning_rate=0.3, weight_decay=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"patience": 0}, "patience"),
        ({"callback": 3}, "callback"),
        ({"validation_data": 3}, "validation_data"),
        ({"validation_data": (np.ones((2, 3)), np.ones(3))}, r"validation_data\[1\]"),
        ({"validation_data": (np.full((2, 3), np.nan), np.ones(2))}, r"validation_data\[0\]: row 0"),
    ],
)
def test_bad_arguments_of_fit_are_named(arguments, message):
    net = MLP((3, 4, 1))
    before = net.parameters.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        Trainer(net).fit(np.ones((5, 3)), np.ones(5), **arguments)
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize("clip_norm", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [4, 5, 33])
def test_clipped_steps_are_the_reference(build, rng, clip_norm, name, dtype, hidden):
    optimizer, step = OPTIMIZERS[name]
    X, Y, w = problem(rng, 2, dtype=dtype)
    net = MLP((3, hidden, 2), dtype=dtype, seed=1)
    W1, W2 = (W.copy() for W in net.weights)
    moments = np.zeros((2, net.parameters.size), net.dtype)
    Trainer(net, optimizer, batch_size=BATCH, l2=0.1, clip_norm=clip_norm, shuffle=False).fit(
        X, Y, epochs=1, sample_weight=w
    )
    batches = in_batches(np.arange(len(X)), BATCH)
    bound = partial(step, **asdict(optimizer))
    reference.train_epoch(
        X, Y, (W1, W2), moments, 0, bound, batches, sample_weight=w, l2=0.1, clip_norm=clip_norm
    )
    tolerance = 1e-11 if dtype == "float64" else 5e-5
    np.testing.assert_allclose(
        net.parameters, np.concatenate([W1.ravel(), W2.ravel()]), rtol=tolerance, atol=tolerance
    )


def test_the_norm_of_a_clipped_step(rng):
    X, Y, _ = problem(rng)
    net = MLP((3, 5, 1), dtype="float64", seed=1)
    before = net.parameters.copy()
    Trainer(net, SGD(1.0), batch_size=None, clip_norm=0.01).fit(X * 100, Y, epochs=1)
    np.testing.assert_allclose(np.linalg.norm(net.parameters - before), 0.01, rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_validation_data_with_weights(rng, weighted):
    X, Y, w = problem(rng)
    w = np.where(w > 1, w, 0)
    net = MLP((3, 5, 1), dtype="float64", seed=1)
    data = (X, Y, w) if weighted else (X, Y)
    history = Trainer(net, seed=1).fit(X, Y, 3, validation_data=data)
    np.testing.assert_allclose(history.validation_loss[-1], net.loss(*data))


@pytest.mark.parametrize("value", [(1,), (1, 2, 3, 4), 7, np.zeros((2, 6, 3))])
def test_validation_data_of_another_kind_are_refused(value):
    X, Y, _ = problem(np.random.default_rng(1))
    with pytest.raises(ValueError, match=r"^validation_data: must be \(Xv, yv\) or \(Xv, yv, wv\)"):
        Trainer(MLP((3, 4, 1))).fit(X, Y, 1, validation_data=value)


def test_56_patience_counts_improvements_of_more_than_min_delta(rng):
    X, Y, _ = problem(rng)
    options = dict(epochs=20_000, patience=10)
    settings = dict(learning_rate=1e-4, batch_size=None, seed=1)
    tiny = Trainer(MLP((3, 4, 1), dtype="float64", seed=1), **settings).fit(X, Y, **options)
    tolerant = Trainer(MLP((3, 4, 1), dtype="float64", seed=1), **settings).fit(
        X, Y, min_delta=1e-2, **options
    )
    assert tolerant.stop_reason == "patience"
    assert len(tolerant.loss) < len(tiny.loss) / 5
    waited, best = 0, np.inf
    for loss in tolerant.loss:
        waited, best = (0, loss) if loss < best - 1e-2 else (waited + 1, best)
    assert waited == 10
    assert tolerant.best_epoch == np.argmin(tolerant.loss)


@pytest.mark.parametrize("value", [-1, np.nan, np.inf, "much"])
def test_56_min_delta_is_checked(value):
    with pytest.raises((TypeError, ValueError), match=r"^min_delta: "):
        Trainer(MLP((1, 2, 1))).fit([[1.0], [2.0]], [1.0, 2.0], min_delta=value)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("standardize", [False, True])
def test_a_monitor_is_minimised_in_place_of_the_loss(rng, m, standardize):
    X, Y, w = problem(rng, m)
    w[:5] = 0
    seen = []

    def absolute(y, prediction):
        assert y.shape == prediction.shape == ((55,) if m == 1 else (55, 2))
        seen.append(np.abs(y - prediction).mean() + (len(seen) == 3) * -10)
        return seen[-1]

    net = MLP((3, 5, m), dtype="float64", seed=1)
    kept = []
    trainer = Trainer(net, seed=1, standardize=standardize)
    history = trainer.fit(
        X, Y, 50, validation_data=(X, Y, w), monitor=absolute, patience=4,
        callback=lambda *_: kept.append(net.parameters.copy()),
    )  # fmt: skip
    assert history.stop_reason == "patience"
    assert history.monitor == seen
    assert (history.best_epoch, len(history.loss)) == (3, 8)
    assert (net.parameters == kept[3]).all()
    assert len(history.validation_loss) == 8


def test_a_monitor_needs_validation_data_and_returns_numbers(rng):
    X, Y, _ = problem(rng)
    trainer = Trainer(MLP((3, 5, 1)))
    with pytest.raises(ValueError, match=r"^monitor: needs validation_data"):
        trainer.fit(X, Y, 1, monitor=lambda *_: 0)
    with pytest.raises(TypeError, match=r"^monitor: must be callable"):
        trainer.fit(X, Y, 1, monitor="mae", validation_data=(X, Y))
    for value in (np.nan, None, "0"):
        with pytest.raises((TypeError, ValueError), match=r"^monitor: its result: must be"):
            trainer.fit(X, Y, 1, monitor=lambda *_, value=value: value, validation_data=(X, Y))
    assert trainer.fit(X, Y, 1).stop_reason == "epochs"


def test_a_monitored_fit_is_resumed_with_its_monitor(rng, tmp_path):
    X, Y, _ = problem(rng)
    path = tmp_path / "checkpoint"

    def distance(y, prediction):
        return np.abs(y - prediction).mean()

    def kill(epoch, history):
        if epoch == 6:
            raise SystemExit

    options = dict(validation_data=(X, Y), monitor=distance)
    limits = dict(epochs=20, patience=3, min_delta=1e-3)
    whole = Trainer(MLP((3, 5, 1), seed=1), seed=1)
    whole.fit(X, Y, **limits, **options)
    with pytest.raises(SystemExit):
        Trainer(MLP((3, 5, 1), seed=1), seed=1).fit(
            X, Y, **limits, **options, callback=kill, checkpoint=path, checkpoint_every=2
        )
    with pytest.raises(ValueError, match=r"^monitor: .* is of a fit with one"):
        Trainer.resume(path, X, Y, validation_data=(X, Y))
    resumed = Trainer.resume(path, X, Y, **options, min_delta=1e-3)
    assert resumed.history.monitor == whole.history.monitor
    assert (resumed.network.parameters == whole.network.parameters).all()


def test_58_a_progress_bar_without_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    X, Y, _ = problem(np.random.default_rng(1))
    assert Trainer(MLP((3, 5, 1))).fit(X, Y, 2, progress=True).stop_reason == "epochs"
