"""What a user can assign, and what a callback can change: checked where it is set, and honoured."""

import copy
import pickle
import threading

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, SGD, Adam, AdamW, Trainer

rng = np.random.default_rng(3)
X = rng.normal(size=(60, 3))
y = np.sin(X).sum(axis=1)


def new(sizes=(3, 4, 1), **settings):
    return Trainer(MLP(sizes, dtype="float64", seed=1), seed=2, **settings)


@pytest.mark.parametrize("name", ["sizes", "dtype", "weights"])
def test_35_what_makes_a_network_cannot_be_changed(name):
    net = MLP((3, 4, 1))
    with pytest.raises(AttributeError):
        setattr(net, name, getattr(MLP((5, 6, 2)), name))


@pytest.mark.parametrize("name", ["network", "history"])
def test_35_what_a_trainer_has_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(new(), name, MLP((30, 40, 1)))


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.zeros(3, "f4"), ValueError),
        (np.zeros((21, 1)), ValueError),
        (np.zeros(22), ValueError),
        (None, TypeError),
        (["a"] * 21, TypeError),
        (np.zeros(21, complex), TypeError),
    ],
)
def test_35_parameters_of_another_shape_or_kind_are_refused(values, error):
    net = MLP((3, 4, 1))
    before = net.parameters.copy()
    with pytest.raises(error, match=r"^parameters: "):
        net.parameters = values
    assert (net.parameters == before).all()


def test_35_assigned_parameters_are_converted_and_copied():
    net = MLP((3, 4, 1))
    W1, _ = net.weights
    values = np.arange(21.0)
    net.parameters = values
    assert net.dtype == np.float32
    assert (values[:16].reshape(4, 4) == W1).all()  # the same buffer
    values[:] = 7
    assert net.parameters[0] == 0
    assert Trainer(net).fit(X, y, 2).stop_reason == "epochs"


def test_35_read_only_parameters_can_be_replaced():
    net = MLP((3, 4, 1))
    net._parameters.flags.writeable = False
    net.parameters = np.ones(21)
    assert net.dtype == np.float32
    net.parameters[0] = 2
    assert net.weights[0][0, 0] == 2


def test_35_the_buffer_cannot_be_resized_or_retyped():
    net = MLP((3, 4, 1))
    with pytest.raises(ValueError, match="own its data"):
        net.parameters.resize(3, refcheck=False)
    view = net.parameters
    view.shape = (3, 7)
    assert net.parameters.shape == (21,)
    assert net.predict(X).shape == (60,)


@pytest.mark.parametrize("rows", [1, 60])
def test_35_the_kernels_refuse_a_buffer_of_another_size(rows):
    net = MLP((3, 4, 1), dtype="float64")
    net._parameters.resize(3, refcheck=False)
    with pytest.raises(ValueError, match=r"has come in place|cannot reshape"):
        net.predict(X[:rows])


def test_35_the_training_loop_refuses_arrays_of_another_size_or_dtype():
    for moments in (np.zeros((2, 3)), np.zeros((2, 21), np.float32), np.zeros((21, 2)).T):
        trainer = new()
        trainer._state.moments = moments
        with pytest.raises(ValueError, match="has come in place"):
            trainer.fit(X, y, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("batch_size", value) for value in (-5, 0, 2.5, "all")),
        *(("l2", value) for value in (-1, np.nan, "much")),
        *(("clip_norm", value) for value in (0, -1, np.inf, "much")),
        *(("optimizer", value) for value in ("rprop", None, Adam)),
        *(("n_threads", value) for value in (0, -1, 1.5)),
    ],
)
def test_35_settings_are_checked_where_they_are_set(name, value):
    trainer = new()
    before = getattr(trainer, name)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
        setattr(trainer, name, value)
    assert getattr(trainer, name) == before
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
        new(**{name: value})


def test_settings_that_are_set_are_those_of_the_constructor():
    settings = {"batch_size": 7, "l2": 0.1, "clip_norm": 2.0, "shuffle": False, "n_threads": 2}
    set_later = new()
    for name, value in settings.items():
        setattr(set_later, name, value)
    set_later.optimizer = "sgd"
    given = new(optimizer="sgd", **settings)
    given.fit(X, y, 3)
    set_later.fit(X, y, 3)
    assert (given.network.parameters == set_later.network.parameters).all()


@pytest.mark.parametrize(
    "names", [["a"], ["a", "b", "c", "d"], ["a", "b", "b"], [0, 1, 2], "abc", 7, ["a", "b", None]]
)
def test_42_names_that_could_not_be_read_again_are_refused(names):
    net = MLP((3, 4, 1))
    with pytest.raises(ValueError, match=r"^feature_names: must be "):
        net.feature_names = names
    assert net.feature_names is None


def test_42_names_become_tuples_of_strings(tmp_path):
    net = MLP((3, 4, 2))
    net.feature_names = np.array(["a", "b", "c"])
    net.target_names = iter("yz")
    assert net.feature_names == ("a", "b", "c")
    assert [type(name) for name in net.feature_names] == [str] * 3
    net.save(tmp_path / "net")
    loaded = MLP.load(tmp_path / "net")
    assert (loaded.feature_names, loaded.target_names) == (("a", "b", "c"), ("y", "z"))
    net.feature_names = None
    assert net.feature_names is None


def test_42_a_file_with_names_that_do_not_fit_keeps_its_weights(tmp_path):
    net = MLP((3, 4, 1))
    net._feature_names = ["a", "b"]  # as could be set before names were checked
    net.save(tmp_path / "net")
    with pytest.warns(UserWarning, match="feature_names: must be 3 strings.*left out"):
        loaded = MLP.load(tmp_path / "net")
    assert loaded.feature_names is None
    assert (loaded.parameters == net.parameters).all()


def test_37_standardize_cannot_be_switched():
    trainer = new(standardize=True)
    trainer.fit(X, y, 2)
    with pytest.raises(AttributeError, match=r"^standardize: cannot be changed; make a new Trainer"):
        trainer.standardize = False
    assert trainer.standardize is True
    assert trainer.fit(X, y, 2).stop_reason == "epochs"


def test_37_an_optimizer_of_another_kind_begins_afresh():
    switched = new(optimizer="adam")
    switched.fit(X, y, 5)
    switched.optimizer = SGD(0.01, momentum=0.9)
    alone = Trainer(copy.deepcopy(switched.network), SGD(0.01, momentum=0.9), shuffle=False)
    switched.shuffle = False
    switched.fit(X, y, 2)
    alone.fit(X, y, 2)
    assert (switched.network.parameters == alone.network.parameters).all()


def test_an_optimizer_of_the_same_kind_goes_on():
    switched, alone = new(), new()
    for trainer in (switched, alone):
        trainer.fit(X, y, 5)
    switched.optimizer = AdamW(1e-3, weight_decay=0)
    for trainer in (switched, alone):
        trainer.fit(X, y, 2)
    assert (switched.network.parameters == alone.network.parameters).all()


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (Adam(eps=1e-46), "eps"),
        (Adam(1e-46), "learning_rate"),
        (Adam(1e39), "learning_rate"),
        (Adam(beta1=1 - 1e-9), "beta1"),
        (SGD(momentum=1 - 1e-9), "momentum"),
        (AdamW(weight_decay=1e39), "weight_decay"),
    ],
)
def test_39_hyper_parameters_are_checked_as_the_dtype_has_them(optimizer, name):
    assert new(optimizer=optimizer).optimizer == optimizer
    with pytest.raises(ValueError, match=rf"^{name}: must be .*which is .* in float32"):
        Trainer(MLP((3, 4, 1)), optimizer)
    trainer = Trainer(MLP((3, 4, 1)))
    with pytest.raises(ValueError, match=rf"^{name}: "):
        trainer.optimizer = optimizer


@pytest.mark.parametrize("answer", [0.3, {"loss": 1}, "stop", 1, 0, np.array([True]), np.float64(1)])
def test_45_a_callback_that_returns_something_else_is_an_error(answer):
    trainer = new()
    with pytest.raises(TypeError, match=r"^callback: must return True to stop"):
        trainer.fit(X, y, 5, callback=lambda *_: answer)
    assert len(trainer.history.loss) == 1
    assert trainer.fit(X, y, 1).stop_reason == "epochs"


@pytest.mark.parametrize(
    ("answer", "epochs"), [(True, 1), (np.True_, 1), (None, 5), (False, 5), (np.False_, 5)]
)
def test_45_true_stops(answer, epochs):
    assert len(new().fit(X, y, 5, callback=lambda *_: answer).loss) == epochs


CHANGES = {
    "optimizer": {"optimizer": SGD(0.003, momentum=0.5)},
    "learning rate": {"optimizer": Adam(0.02)},
    "batch_size": {"batch_size": 9},
    "all rows": {"batch_size": None},
    "l2": {"l2": 0.5},
    "clip_norm": {"clip_norm": 0.01},
    "shuffle": {"shuffle": False},
    "n_threads": {"n_threads": 2},
}


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_46_settings_changed_in_a_callback_count_from_the_next_epoch(change, standardize):
    inside, between = new(standardize=standardize), new(standardize=standardize)

    def set_all(trainer):
        for name, value in CHANGES[change].items():
            setattr(trainer, name, value)

    inside.fit(X, y, 6, callback=lambda epoch, _: set_all(inside) if epoch == 2 else None)
    between.fit(X, y, 3)
    set_all(between)
    between.fit(X, y, 3)
    assert (inside.network.parameters == between.network.parameters).all()


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("batch_size", [8, None])
def test_46_parameters_changed_in_a_callback_are_trained_on(standardize, batch_size):
    inside, between = (new(standardize=standardize, batch_size=batch_size) for _ in range(2))

    def clip(trainer):
        np.clip(trainer.network.parameters, -0.3, 0.3, out=trainer.network.parameters)

    inside.fit(X, y, 6, callback=lambda epoch, _: clip(inside) if epoch == 2 else None)
    between.fit(X, y, 3)
    clip(between)
    between.fit(X, y, 3)
    assert (inside.network.parameters == between.network.parameters).all()


def test_46_parameters_changed_in_the_last_epoch_stay():
    trainer = new(standardize=True)

    def clear(epoch, history):
        trainer.network.parameters[:] = 0.125

    trainer.fit(X, y, 3, callback=clear)
    assert (trainer.network.parameters == 0.125).all()


def test_46_a_checkpoint_of_a_callback_has_what_it_changed(tmp_path):
    trainer = new(standardize=True)
    path = tmp_path / "checkpoint"

    def change(epoch, history):
        if epoch == 2:
            trainer.network.parameters[:] *= 0.5
            trainer.optimizer = Adam(0.02)
            trainer.save_checkpoint(path)

    trainer.fit(X, y, 6, callback=change)
    resumed = Trainer.resume(path, X, y)
    assert (resumed.network.parameters == trainer.network.parameters).all()
    assert resumed.history.loss == trainer.history.loss


def test_36_draws_are_under_the_lock_of_the_generator():
    generator = np.random.default_rng(1)
    trainer = Trainer(MLP((3, 4, 1)), seed=generator)
    with generator.bit_generator.lock:
        fit = threading.Thread(target=trainer.fit, args=(X, y, 3))
        fit.start()
        fit.join(0.5)
        assert fit.is_alive()  # waits for the lock
        assert trainer.history.loss == []
    fit.join(60)
    assert len(trainer.history.loss) == 3


def test_36_a_stream_of_its_own_needs_no_lock():
    trainer = new()
    with trainer._state.bit_generator.lock:
        fit = threading.Thread(target=trainer.fit, args=(X, y, 3))
        fit.start()
        fit.join(60)
        assert not fit.is_alive()


def test_36_trainers_in_threads_share_a_generator():
    generator = np.random.Generator(np.random.MT19937(1))
    trainers = [Trainer(MLP((3, 4, 1), seed=seed), batch_size=4, seed=generator) for seed in range(2)]
    threads = [threading.Thread(target=trainer.fit, args=(X, y, 300)) for trainer in trainers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [trainer.history.stop_reason for trainer in trainers] == ["epochs"] * 2
    draws = generator.bit_generator.state["state"]["pos"]
    assert 0 <= draws <= 624


def test_a_trainer_survives_pickling():
    trainer = pickle.loads(pickle.dumps(new(standardize=True, clip_norm=1.0)))
    assert trainer.fit(X, y, 3).stop_reason == "epochs"
    assert trainer.clip_norm == 1.0


def test_arguments_after_the_first_are_by_name():
    with pytest.raises(TypeError, match="positional"):
        MLP((3, 4, 1), "float64")
    with pytest.raises(TypeError, match="positional"):
        Trainer(MLP((3, 4, 1)), "adam", 0.1, 32)
    with pytest.raises(TypeError, match="positional"):
        new().fit(X, y, 3, np.ones(60))
    with pytest.raises(TypeError, match="positional"):
        fastmlp.Trainer.resume("file", X, y, None)
