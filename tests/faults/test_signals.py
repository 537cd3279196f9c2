"""Ctrl-C, SIGTERM and exceptions at any moment of a fit: it ends, and nothing is lost or left behind.

Each case runs in a process of its own, with a hard limit of time.
"""

import signal
import subprocess
import sys

import numpy as np
import pytest
import tqdm.auto

from fastmlp import MLP, Trainer, _checks

START = """
import os, signal, sys, tempfile, threading, time, warnings
import numpy as np
import fastmlp
from fastmlp import MLP, History, Trainer, kernels, scaling

warnings.simplefilter("ignore", RuntimeWarning)  # of divergence
signal.signal(signal.SIGALRM, signal.default_int_handler)  # a timer's Ctrl-C
signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
folder = tempfile.mkdtemp()
path = os.path.join(folder, "checkpoint")


def outcome(fit, *arguments, **options):
    # the reason that a fit gives for its end, or the name of what it raised
    try:
        return fit(*arguments, **options).stop_reason
    except BaseException as error:
        return type(error).__name__


def wrong_history(history):
    n, validated = len(history.loss), len(history.validation_loss)
    if len(history.seconds) != n or validated not in (0, n):
        yield f"curves of {n}, {validated} and {len(history.seconds)} epochs"
    monitored = history.validation_loss or history.loss
    if history.best_epoch != (int(np.argmin(monitored)) if monitored else None):
        yield f"best epoch {history.best_epoch} of {monitored}"


def wrong_next(trainer, X, y):
    # another fit must work, and go on from the network as it is: with all rows in one batch, its first loss
    # is the network's (but for a new network, whose weights are yet to be taken as standardised)
    net = trainer.network
    if not np.isfinite(net.parameters).all():
        yield "weights that are not finite"
        return
    trainer.optimizer = fastmlp.Adam()
    loss = net.loss(X, y) if net.trained else None
    ended = outcome(trainer.fit, X, y, 1)
    if ended != "epochs":
        yield f"the next fit: {ended}"
    elif loss is not None and not np.isclose(trainer.history.loss[0], loss, rtol=1e-6):
        yield f"the next fit starts at {trainer.history.loss[0]}, the network is at {loss}"


def left_behind():
    return threading.active_count(), [name for name in os.listdir(folder) if name.startswith(".")]
"""

# Python looks for signals after a call, at the start of a function and on the way round a loop. The first two
# are where it calls a profile function, too. So each moment gets its signal, in a fit of its own.
EVERY_MOMENT = """
import _thread

SOURCES = os.path.dirname(fastmlp.__file__)
EPOCHS, X, y = 4, *(part[:200] for part in fastmlp.load_titanic())
WAYS = {
    "plain": {},
    "callback": dict(callback=lambda *_: None),
    "validation": dict(validation_data=(X[:50], y[:50]), callback=lambda *_: None),
    "patience": dict(patience=EPOCHS),
    "progress": dict(progress=True),
    "checkpoint": dict(checkpoint=path, checkpoint_every=2),
    "diverging": {},
}
way, number, again = sys.argv[1], getattr(signal, sys.argv[2]), int(sys.argv[3])
standardize = way in ("validation", "patience")


def new():
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    rate = 1e30 if way == "diverging" else 0.05
    return Trainer(net, learning_rate=rate, batch_size=None, seed=1, standardize=standardize)


class SignalAt:
    # a profile function that sends the signal at one moment, and if asked once more some moments later

    def __init__(self, first):
        self.moment, self.due, self.places = 0, {first, first + again}, []

    def __call__(self, frame, event, called):
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(SOURCES):
            return
        self.moment += 1
        if self.moment - 1 in self.due:
            self.places.append(f"{frame.f_code.co_name}, line {frame.f_lineno}")
            sending = map(_thread.interrupt_main, [number])
            (_,) = sending  # sent by an unpacking: after a call the signal would already be handled in here


def undisturbed():
    # the parameters before a fit that nothing disturbs; at its start and after each epoch; and after it
    trainer = new()
    net, found, options = trainer.network, [], dict(WAYS[way])
    options.pop("checkpoint", None)
    options["callback"] = lambda *_: found.append(net.parameters.copy())
    before = net.parameters.copy()
    trainer.fit(X, y, EPOCHS, **options)
    start = MLP((3, 4, 1), dtype="float64", seed=1)
    if standardize:
        scaling.clear_constant(start.weights[0], trainer.scaling)
        scaling.fold(start.weights, trainer.scaling)
    return before, [start.parameters, *found], net.parameters


def is_one_of(parameters, wanted):
    return any((parameters == each).all() for each in wanted)


def wrong_end(trainer, ended):
    # what the documentation does not allow after one signal
    history, parameters = trainer.history, trainer.network.parameters
    raised = "KeyboardInterrupt" if number == signal.SIGINT else "SystemExit"
    n = 0 if history is None else len(history.loss)
    validates = "validation_data" in WAYS[way]
    best = 0 if not n or history.best_epoch is None else history.best_epoch + validates
    if ended == "interrupted" and number == signal.SIGINT:  # without validation the last weights may be best
        if not is_one_of(parameters, [STATES[best]] if validates else [STATES[best], STATES[n]]):
            yield f"after {n} epochs, of which {history.best_epoch} was best: weights of none of these"
    elif ended != raised:
        yield f"the signal is lost: {ended}"
    elif history is None or not n and (parameters == BEFORE).all():
        if not (parameters == BEFORE).all():
            yield "training has not begun, and the weights have changed"
    elif history.stop_reason == END:  # training is over, the last checkpoint or a warning is not
        if not is_one_of(parameters, [FINAL]):
            yield "training was over, and the weights are not those of its end"
    elif number == signal.SIGINT:
        yield "Ctrl-C in the middle of training comes out as KeyboardInterrupt"
    elif not is_one_of(parameters, [STATES[best]]):
        yield f"after {n} epochs, of which {history.best_epoch} was best: weights of another"


def wrong_file():
    # a fit that was cut off goes on to the same end
    if os.path.exists(path):
        resumed = Trainer.resume(path, X, y)
        if not is_one_of(resumed.network.parameters, [FINAL]):
            yield "the checkpoint does not lead to the end of the fit"
        os.unlink(path)


os.umask(0o22)
BEFORE, STATES, FINAL = undisturbed()
END = outcome(new().fit, X, y, EPOCHS, **WAYS[way])  # and everything is imported
wrong_file()
moments = 0
while True:
    if os.path.exists(path):
        os.unlink(path)
    trainer, profile = new(), SignalAt(moments)
    was = left_behind()
    sys.setprofile(profile)
    try:
        ended = outcome(trainer.fit, X, y, EPOCHS, **WAYS[way])
    finally:
        sys.setprofile(None)
    if not profile.places:
        break
    moments += 1
    complaints = []
    if not again:
        complaints += [*wrong_end(trainer, ended), *wrong_file()]
        complaints += wrong_history(trainer.history or History())
        if left_behind() != was:
            complaints.append(f"left behind: {left_behind()}, where {was} were")
    complaints += wrong_next(trainer, X, y)
    if os.umask(0o22) != 0o22:
        complaints.append("another umask")
    for complaint in complaints:
        print(f"signal in {' and '.join(profile.places)}: {complaint}")
assert ended == END == ("diverged" if way == "diverging" else "epochs")
assert moments > 50
"""


WAYS = ["plain", "callback", "validation", "patience", "progress", "checkpoint", "diverging"]


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("way", WAYS)
def test_20_a_signal_at_every_moment(way, sent):
    assert printed(EVERY_MOMENT, way, sent, "0") == ""


@pytest.mark.parametrize("way", ["plain", "validation", "checkpoint"])
@pytest.mark.parametrize("later", [1, 2, 3, 5, 8])
def test_20_a_second_signal_soon_after(way, later):
    """The end that the first one asks for is cut short too: the network and the next fit are still sound."""
    assert printed(EVERY_MOMENT, way, "SIGINT", str(later)) == ""


# Each phase that is one long call, with data that make it long, and a timer that is set where it begins and
# goes off inside it. Training would go on for hours.
LONG_PHASE = """
from types import SimpleNamespace

phase, sent = sys.argv[1:]
if sent == "SIGTERM":
    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGTERM))
rng = np.random.default_rng(0)
timer = SimpleNamespace(began=0, ended=0)


def timed(function):
    def call(*arguments, **options):
        timer.began += 1
        if timer.began == 1:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
        result = function(*arguments, **options)
        timer.ended += 1
        return result

    return call


def many(rows, columns, dtype="float32"):
    X = rng.random((rows, columns), dtype=dtype)
    return X, X[:, 0].copy()


Fit = kernels.fit_loop(np.dtype("float32"))


class Timed(Fit):
    run = Fit.run if phase == "closing loss" else timed(Fit.run)
    finish = timed(Fit.finish) if phase == "closing loss" else Fit.finish


def in_module(owner, name, rows, columns, dtype="float32", **settings):
    setattr(owner, name, timed(getattr(owner, name)))
    return many(rows, columns, dtype), (columns, 8, 1), settings, {}


def in_loop(data, hidden, settings, options):
    kernels.fit_loop = lambda dtype: Timed
    return data, (data[0].shape[1], hidden, 1), settings, dict(epochs=10**8) | options


few, wide = many(100, 50), (lambda: many(200_000, 50))
steps = 0
match phase:
    case "conversion":
        case = in_module(fastmlp._checks, "data", 2_000_000, 20, "float64")
    case "look for NaN":
        case = in_module(fastmlp._checks, "finite", 4_000_000, 20)
    case "measuring":
        case = in_module(scaling, "fit_scaling", 500_000, 20, standardize=True)
    case "standardising":
        case = in_module(scaling, "transform", 500_000, 20, standardize=True)
    case "shuffle":
        case = in_loop(many(10_000_000, 1), 1, {}, {})
    case "long batch":
        case = in_loop(wide(), 2000, dict(batch_size=None), {})
    case "long batch, threads":
        case = in_loop(wide(), 2000, dict(batch_size=None, n_threads=2), {})
    case "validation":
        case, steps = in_loop(few, 2000, dict(batch_size=None), dict(validation_data=wide())), 1
    case "validation, threads":
        settings = dict(batch_size=None, n_threads=2)
        case, steps = in_loop(few, 2000, settings, dict(validation_data=wide())), 1
    case "closing loss":
        case, steps = in_loop(wide(), 300, dict(batch_size=None), dict(patience=1, epochs=1)), 1
    case "short epochs":
        case, steps = in_loop(few, 8, {}, {}), None
    case "callback":
        wait = dict(callback=lambda *_: signal.pause())
        case, steps = in_loop(few, 8, dict(batch_size=None), wait), 1

data, sizes, settings, options = case
begun = "epochs" in options
trainer = Trainer(MLP(sizes, seed=1), learning_rate=1e-4, seed=1, **settings)
before = trainer.network.parameters.copy()
ended = outcome(trainer.fit, *data, **options)
wanted = "SystemExit" if sent == "SIGTERM" else "interrupted" if begun else "KeyboardInterrupt"
assert ended == wanted, ended
assert timer.began == timer.ended + 1 or phase in ("callback", "closing loss", "short epochs"), timer
assert steps in (None, trainer._state.steps), trainer._state.steps
if not begun:
    assert (trainer.network.parameters == before).all()
    assert trainer.history is None
else:
    assert not [*wrong_history(trainer.history)]
assert np.isfinite(trainer.network.parameters).all()
assert threading.active_count() == 1
signal.setitimer(signal.ITIMER_REAL, 0)
kernels.fit_loop = lambda dtype: Fit
part = data[0][:100], data[1][:100]
assert trainer.fit(*part, epochs=2).stop_reason == "epochs"
"""

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
    printed(LONG_PHASE, phase, sent)


# The loop looks for signals wherever it is, and here they come wherever they like. With validation data the
# weights left must be, to the bit, those of the best epoch that the history tells of.
RANDOM_MOMENTS = """
X, y = fastmlp.load_titanic()
validation, epochs = (X[:300], y[:300]), 300
rng = np.random.default_rng(0)


def new(n_threads=1):
    net = MLP((3, 16, 1), dtype="float64", seed=1)
    return Trainer(net, learning_rate=0.01, seed=1, n_threads=n_threads)


states, trainer = [MLP((3, 16, 1), dtype="float64", seed=1).parameters], new()
trainer.fit(X, y, epochs, validation_data=validation,
            callback=lambda *_: states.append(trainer.network.parameters.copy()))
seconds = sum(trainer.history.seconds)
ends = []
while ends.count("interrupted") < 60:  # how many signals come too late depends on what else the machine does
    trainer = new(1 + len(ends) % 2)
    options = dict(callback=lambda *_: None) if len(ends) % 4 < 2 else {}
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, seconds))
        ended = outcome(trainer.fit, X, y, epochs, validation_data=validation, **options)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:  # before or after the fit
        ended = "outside"
    ends.append(ended)
    history, parameters = trainer.history, trainer.network.parameters
    if ended == "interrupted":
        assert not [*wrong_history(history)]
        best = 0 if history.best_epoch is None else history.best_epoch + 1
        assert (parameters == states[best]).all(), (len(history.loss), best)
    elif history is None or history.stop_reason is None:  # training had not begun
        assert ended in ("KeyboardInterrupt", "outside") and not (history and history.loss), (ended, history)
        assert (parameters == states[0]).all()
    else:  # it was over, even if `fit` had not returned
        assert history.stop_reason == "epochs" and (parameters == states[-1]).all(), (ended, history)
    assert trainer.fit(X, y, 1).stop_reason == "epochs"
    assert threading.active_count() == 1
"""


def test_20_ctrl_c_at_random_moments():
    printed(RANDOM_MOMENTS)


# The first batch ruins the weights, and Ctrl-C comes in the second, before the loss of an epoch has told. The
# loop looks for signals after so much work that the first batch is over by then: a signal that is there from
# the start ends the second.
RUINED = """
import _thread

net = MLP((50, 1000, 1), seed=1)
Fit = kernels.fit_loop(net.dtype)


class Interrupted(Fit):
    def run(self, *arguments):
        run, sending = super().run, map(_thread.interrupt_main, [signal.SIGINT])
        (_,) = sending  # sent by an unpacking: after a call it would be handled in here
        return run(*arguments)


kernels.fit_loop = lambda dtype: Interrupted
X = np.random.default_rng(0).random((4000, 50), dtype="float32")
before = net.parameters.copy()
trainer = Trainer(net, sys.argv[1], float(sys.argv[2]), batch_size=2000, shuffle=False)
history = trainer.fit(X, X[:, 0])
assert history.stop_reason == "interrupted" and not history.loss
assert trainer._state.steps == 1
assert (net.parameters == before).all()
"""


@pytest.mark.parametrize("learning_rate", ["1e4", "1e10", "1e30"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_20_ctrl_c_after_a_step_that_ruins_the_weights(optimizer, learning_rate):
    printed(RUINED, optimizer, learning_rate)


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


# A progress bar that cannot be written is an exception like others, at whichever moment of the fit it comes.
FULL_STDERR = """
X, y = fastmlp.load_titanic()
trainer = Trainer(MLP((3, 4, 1), seed=1), batch_size=None)
before = trainer.network.parameters.copy()
stderr, sys.stderr = sys.stderr, open("/dev/full", "w")
ended = outcome(trainer.fit, X, y, 4, progress=True)
sys.stderr = stderr
assert ended == "OSError", ended
assert (trainer.network.parameters == before).all()
assert trainer.fit(X, y, 4, progress=True).stop_reason == "epochs"
print("done", flush=True)
os._exit(0)  # closing the full file would fail once more
"""


def test_21_a_progress_bar_on_a_full_disk():
    assert printed(FULL_STDERR) == "done\n"


# SIGTERM that nobody handles kills at once; the checkpoint on disk is whole, and leads where the fit would
# have gone.
KILLED = """
signal.signal(signal.SIGTERM, signal.SIG_DFL)
X, y = (part[:200] for part in fastmlp.load_titanic())


def fit(**options):
    trainer = Trainer(MLP((3, 4, 1), dtype="float64", seed=1), seed=1, standardize=True)
    trainer.fit(X, y, 400, **options)
    return trainer.network.parameters


expected = fit()
child = os.fork()
if child == 0:
    fit(checkpoint=path, checkpoint_every=10, callback=lambda *_: time.sleep(0.002))
    os._exit(0)
deadline = time.monotonic() + 30
while not os.path.exists(path) and time.monotonic() < deadline:
    time.sleep(0.001)
time.sleep(float(sys.argv[1]))
os.kill(child, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
resumed = Trainer.resume(path, X, y)
assert (resumed.network.parameters == expected).all()
assert len(resumed.history.loss) == 400
"""


@pytest.mark.parametrize("delay", ["0", "0.1", "0.3"])
def test_20_sigterm_leaves_a_whole_checkpoint(delay):
    printed(KILLED, delay)


def printed(source, *arguments):
    """What a script prints that starts with START."""
    done = subprocess.run(
        [sys.executable, "-c", START + source, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# One call over so many rows that it takes a second or so, alone and with a signal soon after its start.
LONG_CALL = """
rng = np.random.default_rng(1)
net = MLP((64, 256, 1), seed=1)
X, y = np.ones((400_000, 64), np.float32), np.ones(400_000, np.float32)
call = {
    "predict": lambda: net.predict(X),
    "predict on two threads": lambda: net.predict(X, n_threads=2),
    "loss": lambda: net.loss(X, y),
    "gradients": lambda: net.loss_and_gradients(X, y),
}[sys.argv[1]]
started = time.perf_counter()
call()
whole = time.perf_counter() - started
signal.setitimer(signal.ITIMER_REAL, whole / 10)
started = time.perf_counter()
try:
    call()
except KeyboardInterrupt:
    print((time.perf_counter() - started) / whole < 0.7)
"""


@pytest.mark.parametrize("what", ["predict", "predict on two threads", "loss", "gradients"])
def test_38_a_signal_in_a_long_call(what, monkeypatch):
    monkeypatch.setenv("FASTMLP_ISA", "baseline")
    assert printed(LONG_CALL, what) == "True\n"


def test_38_large_arrays_are_checked_and_converted_in_parts(monkeypatch):
    X = np.random.default_rng(1).normal(size=(50, 3))
    whole = _checks.matrix("X", X, np.dtype("float32"))
    monkeypatch.setattr(_checks, "AT_ONCE", 10)
    assert [len(part) for part in _checks._parts(X)] == [3] * 16 + [2]
    assert (_checks.matrix("X", X, np.dtype("float32")) == whole).all()
    _checks.finite("X", X)
    for bad in (np.nan, np.inf):
        X[47, 1] = bad
        with pytest.raises(ValueError, match=r"^X: row 47"):
            _checks.finite("X", X)
