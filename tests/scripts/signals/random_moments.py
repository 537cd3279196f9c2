"""The loop looks for signals wherever it is, and here they come wherever they like.

With validation data the weights left must be, to the bit, those of the best epoch that the history tells
of.
"""

import signal
import threading

import numpy as np
from start import outcome, wrong_history

import fastmlp
from fastmlp import MLP, Trainer

X, y = fastmlp.load_titanic()
validation, epochs = (X[:300], y[:300]), 300
rng = np.random.default_rng(0)


def new(n_threads=1):
    net = MLP((3, 16, 1), dtype="float64", seed=1)
    return Trainer(net, learning_rate=0.01, seed=1, n_threads=n_threads)


states, trainer = [MLP((3, 16, 1), dtype="float64", seed=1).parameters], new()
trainer.fit(
    X,
    y,
    epochs,
    validation_data=validation,
    callback=lambda *_: states.append(trainer.network.parameters.copy()),
)
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
