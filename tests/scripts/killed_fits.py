"""A process that has imported the package forks a child for each try, which fits or resumes, and is killed.

That is after a part of the time that a whole fit takes. Checkpoints come after every epoch, so most of the
time is that of writing them.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time

import fastmlp

path = sys.argv[1]
X, y = fastmlp.load_titanic()
X, y, Xv, yv = X[:700], y[:700], X[700:], y[700:]


def whole():
    net = fastmlp.MLP((3, 4, 1), seed=1)
    trainer = fastmlp.Trainer(net, learning_rate=0.01, seed=1, standardize=True)
    trainer.fit(X, y, epochs=20, validation_data=(Xv, yv), patience=20, checkpoint=path, checkpoint_every=1)
    return trainer


def resumed():
    return fastmlp.Trainer.resume(path, X, y, validation_data=(Xv, yv))


def bits(trainer):
    "A digest of all that a fit leaves, and of what three more epochs then do."
    told = []
    for _ in range(2):
        history = trainer.history
        told += [history.loss, history.validation_loss, history.best_epoch, history.stop_reason]
        told += [trainer._state.steps, trainer._state.bit_generator.state]
        told += [trainer.network.parameters.tobytes(), trainer._state.moments.tobytes()]
        trainer.fit(X, y, epochs=3, validation_data=(Xv, yv))
    return hashlib.sha256(repr(told).encode()).digest()


def forked(work, delay=None):
    "What a child that does the work tells, or None where it was killed before it could."
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            trainer = work()
            os.write(writing, bits(trainer) if delay is None else b"done")
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told = os.read(reading, 100)
    os.close(reading)
    if status == -signal.SIGKILL:
        return None
    assert status == 0, status
    return told


expected = forked(whole)
os.remove(path)
started = time.perf_counter()
forked(whole)
length = time.perf_counter() - started
draw = random.Random(27)
rounds, kills, found = 0, {"before the first checkpoint": 0, "later": 0, "of a resumed fit": 0}, []


def enough():
    again = kills["of a resumed fit"]
    return sum(kills.values()) >= 60 and kills["later"] + again >= 40 and again >= 10 and len(found) >= 20


while not enough() and rounds < 300:
    rounds += 1
    if os.path.exists(path):
        os.remove(path)
    work = whole
    while draw.random() < 0.7:
        if forked(work, draw.uniform(0, length)) is not None:
            length *= 0.9  # the disk is faster than it was
            break
        name = "of a resumed fit" if work is resumed else "later"
        kills[name if os.path.exists(path) else "before the first checkpoint"] += 1
        length *= 1 if os.path.exists(path) else 1.1  # or slower
        work = resumed if os.path.exists(path) else whole
    if os.path.exists(path):
        found.append(forked(resumed) == expected)
print(json.dumps({"kills": kills, "rounds": rounds, "equal": sum(found), "compared": len(found)}))
