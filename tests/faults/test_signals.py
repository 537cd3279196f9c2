"""Ctrl-C, SIGTERM and exceptions at any moment of a fit: it ends, and nothing is lost or left behind.

Each case runs in a process of its own, with a hard limit of time.
"""

import signal

import numpy as np
import programs
import pytest
import tqdm.auto

from fastmlp import MLP, Trainer, _checks

WAYS = ["plain", "callback", "validation", "patience", "progress", "checkpoint", "diverging"]


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("way", WAYS)
def test_20_a_signal_at_every_moment(way, sent):
    assert programs.output("signals/every_moment.py", way, sent, "0") == ""


@pytest.mark.parametrize("way", ["plain", "validation", "checkpoint"])
@pytest.mark.parametrize("later", [1, 2, 3, 5, 8])
def test_20_a_second_signal_soon_after(way, later):
    """The end that the first one asks for is cut short too: the network and the next fit are still sound."""
    assert programs.output("signals/every_moment.py", way, "SIGINT", str(later)) == ""


PHASES = [
    "conversion",
    "look for NaN",
    "measuring",
    "standardising",
    "shuffle",
    "long batch",
    "long batch, threads",
    "validation",
    "validation, threads",
    "closing loss",
    "short epochs",
    "callback",
]


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("phase", PHASES)
def test_20_a_signal_in_a_long_phase(phase, sent):
    programs.output("signals/long_phase.py", phase, sent)


def test_20_ctrl_c_at_random_moments():
    programs.output("signals/random_moments.py")


@pytest.mark.parametrize("learning_rate", ["1e4", "1e10", "1e30"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_20_ctrl_c_after_a_step_that_ruins_the_weights(optimizer, learning_rate):
    programs.output("signals/ruined.py", optimizer, learning_rate)


def rising():
    """A trainer whose loss rises after its first epoch, so that the best weights are the first; and its data.

    Most rows are 0, and their loss falls: a look at the first ones is no judgement.
    """
    X = np.concatenate([np.zeros((1100, 3)), np.random.default_rng(0).normal(size=(100, 3))])
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    np.abs(net.parameters, out=net.parameters)
    return Trainer(net, "sgd", 1.0, batch_size=None), X, 5 * np.abs(X[:, 0])


def assert_best_of(trainer, X, y, epochs):
    """That the best weights are there, the history is whole, and the trainer goes on."""
    history = trainer.history
    assert len(history.loss) == len(history.seconds) == epochs
    assert history.best_epoch == 0
    assert np.isclose(trainer.network.loss(X, y), history.loss[0], rtol=1e-12)
    assert trainer.fit(X, y, 1).stop_reason == "epochs"


@pytest.mark.parametrize("epoch", [1, 3])
def test_20_ctrl_c_in_the_callback_of_the_last_epoch_too(epoch):
    trainer, X, y = rising()
    history = trainer.fit(X, y, 4, callback=lambda e, _: e == epoch and signal.raise_signal(signal.SIGINT))
    assert history.stop_reason == "interrupted"
    assert_best_of(trainer, X, y, epoch + 1)


class Broken(RuntimeError):
    pass


def fail(*arguments, **options):
    raise Broken("on purpose")


def interrupt(*arguments, **options):
    signal.raise_signal(signal.SIGINT)


def bar_in_which(what, happens, monkeypatch):
    """Let a method of the progress bar do something else, in its third call if it has so many."""
    real, calls = getattr(tqdm.tqdm, what), []

    def method(self, *arguments, **options):
        calls.append(what)
        result = real(self, *arguments, **options)
        if len(calls) == 3 or what == "__exit__":
            happens()
        return result

    monkeypatch.setattr("tqdm.auto.tqdm", type("Bar", (tqdm.tqdm,), {what: method}))


@pytest.mark.parametrize("what", ["update", "set_postfix"])
def test_21_an_exception_of_the_progress_bar(what, monkeypatch):
    trainer, X, y = rising()
    bar_in_which(what, fail, monkeypatch)
    with pytest.raises(Broken):
        trainer.fit(X, y, 4, callback=lambda *_: None, progress=True)
    assert trainer.history.stop_reason is None
    assert_best_of(trainer, X, y, 3)


def test_21_an_exception_as_the_progress_bar_closes(monkeypatch):
    trainer, X, y = rising()
    bar_in_which("__exit__", fail, monkeypatch)
    with pytest.raises(Broken):
        trainer.fit(X, y, 4, progress=True)
    assert trainer.history.stop_reason is None
    assert_best_of(trainer, X, y, 4)


@pytest.mark.parametrize(("what", "epochs"), [("update", 3), ("set_postfix", 3), ("__exit__", 4)])
def test_20_ctrl_c_in_the_progress_bar(what, epochs, monkeypatch):
    trainer, X, y = rising()
    bar_in_which(what, interrupt, monkeypatch)
    history = trainer.fit(X, y, 4, callback=lambda *_: None, progress=True)
    assert history.stop_reason == "interrupted"
    assert_best_of(trainer, X, y, epochs)


@pytest.mark.parametrize("epoch", [0, 2, 3])
@pytest.mark.parametrize("error", [Broken, SystemExit, GeneratorExit, MemoryError])
def test_21_an_exception_of_the_callback(error, epoch):
    trainer, X, y = rising()

    def callback(e, history):
        if e == epoch:
            raise error

    with pytest.raises(error):
        trainer.fit(X, y, 4, callback=callback)
    assert_best_of(trainer, X, y, epoch + 1)


def test_21_a_progress_bar_on_a_full_disk():
    assert programs.output("signals/full_stderr.py") == "done\n"


@pytest.mark.parametrize("delay", ["0", "0.1", "0.3"])
def test_20_sigterm_leaves_a_whole_checkpoint(delay):
    programs.output("signals/killed.py", delay)


@pytest.mark.parametrize("what", ["predict", "predict on two threads", "loss", "gradients"])
def test_38_a_signal_in_a_long_call(what, monkeypatch):
    monkeypatch.setenv("FASTMLP_ISA", "baseline")
    assert programs.output("signals/long_call.py", what) == "True\n"


def test_38_large_arrays_are_checked_and_converted_in_parts(monkeypatch):
    X = np.random.default_rng(1).normal(size=(50, 3))
    whole = _checks.matrix("X", X, np.dtype("float32"))
    monkeypatch.setattr(_checks, "AT_ONCE", 10)
    assert [len(part) for part in _checks._parts(X)] == [3] * 16 + [2]
    assert (_checks.matrix("X", X, np.dtype("float32")) == whole).all()
    _checks.require_finite("X", X)
    for bad in (np.nan, np.inf):
        X[47, 1] = bad
        with pytest.raises(ValueError, match=r"^X: row 47"):
            _checks.require_finite("X", X)
