"""Python looks for signals after a call, at the start of a function and on the way round a loop.

The first two are where it calls a profile function, too. So each moment gets its signal, in a fit of its
own.
"""

import _thread
import os
import signal
import sys

from start import left_behind, outcome, path, wrong_history, wrong_next

import fastmlp
from fastmlp import MLP, History, Trainer, scaling

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
    elif history is None or (not n and (parameters == BEFORE).all()):
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
