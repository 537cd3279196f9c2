"""Each phase that is one long call, with data that make it long, and a timer that is set where it begins and
goes off inside it. Training would go on for hours.
"""

import signal
import sys
import threading
from types import SimpleNamespace

import numpy as np
from start import outcome, wrong_history

import fastmlp
from fastmlp import MLP, Trainer, kernels, scaling

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
        case = in_module(fastmlp._checks, "require_finite", 4_000_000, 20)
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
