"""So many rounds of fits, saves, loads and failures: memory, open files and threads stay."""

import os
import signal
import sys
import time
import warnings

import numpy as np

import fastmlp
from fastmlp import MLP, Trainer

X, y = fastmlp.load_titanic()
X32, y32 = X.astype("float32"), y.astype("float32")
many = np.random.default_rng(0).normal(size=(8000, 16)).astype("float32")
bad = X.copy()
bad[700, 1] = np.nan
model, checkpoint, damaged = (os.path.join(sys.argv[1], name) for name in ("model", "checkpoint", "damaged"))
warnings.simplefilter("ignore", RuntimeWarning)  # of divergence


def fails(wanted, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except wanted:
        return
    raise AssertionError(f"no {wanted.__name__}")


def fail(epoch, history):
    raise LookupError("on purpose")


def interrupt(epoch, history):
    signal.raise_signal(signal.SIGINT)


def fit_again(epoch, history):
    fails(RuntimeError, Trainer(again).fit, X, y, 1)


def new(dtype="float32", **settings):
    return Trainer(MLP((3, 4, 1), dtype=dtype, seed=1), seed=1, **settings)


def fit(i):
    global again
    trainer = new(("float32", "float64")[i % 2], standardize=bool(i % 3))
    again = trainer.network
    match i % 10:
        case 0:
            trainer.fit(X32, y32, 3)
        case 1:
            trainer.fit(X, y, 5, validation_data=(X[:300], y[:300]), patience=2)
        case 2:
            assert new(learning_rate=1e30).fit(X, y, 3).stop_reason == "diverged"
        case 3:
            fails(ValueError, trainer.fit, bad, y)
        case 4:
            fails(LookupError, trainer.fit, X, y, 3, callback=fail)
        case 5:
            assert trainer.fit(X, y, 3, callback=interrupt).stop_reason == "interrupted"
        case 6:
            trainer.fit(X, y, 2, callback=fit_again)
        case 7:
            wide = Trainer(MLP((16, 64, 1), seed=1), batch_size=None, n_threads=2)
            wide.fit(many, many[:, 0], 2)
            wide.network.predict(many, n_threads=2)
        case 8:
            trainer.fit(X, y, 3, sample_weight=y + 1, progress=True)
        case 9:
            fails(TypeError, trainer.fit, X, y, callback=3)
            fails(ValueError, trainer.fit, X[:, :2], y)
    return trainer


def save_and_load(i, trainer):
    trainer.network.save(model)
    assert (MLP.load(model).parameters == trainer.network.parameters).all()
    fails(OSError, trainer.network.save, os.path.join(model, "below a file"))
    trainer.save_checkpoint(checkpoint)
    if trainer._state.fingerprints is None:
        Trainer.resume(checkpoint, X, y)
    os.unlink(checkpoint)
    with open(model, "rb") as file:
        content = bytearray(file.read())
    content[-1 - i % 84] ^= 1 << i % 8  # a bit of a weight
    with open(damaged, "wb") as file:
        file.write(content[: len(content) - (i % 3)])
    fails(ValueError, MLP.load, damaged)
    fails(ValueError, Trainer.resume, damaged, X, y)
    fails(OSError, MLP.load, "absent")


def fit_with_checkpoints(i):
    options = dict(checkpoint=checkpoint, checkpoint_every=2)
    fails(LookupError, new().fit, X, y, 4, callback=fail, **options)
    fails(FileExistsError, new().fit, X, y, 4, **options)
    fails(ValueError, Trainer.resume, checkpoint, X + 1, y)
    assert Trainer.resume(checkpoint, X, y).history.stop_reason == "epochs"
    os.unlink(checkpoint)


def now():
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


rounds, warm, started = int(sys.argv[2]), int(sys.argv[3]), time.monotonic()
for i in range(rounds):
    save_and_load(i, fit(i))
    if i % 5 == 0:
        fit_with_checkpoints(i)
    if i + 1 == warm:
        memory, files, threads = now()
        print(f"after {warm} rounds: {memory} bytes, {files} files, {threads} threads")
at_end = now()
print(f"after {rounds} rounds: {at_end[0]} bytes, {at_end[1]} files, {at_end[2]} threads")
print(f"{time.monotonic() - started:.0f} s")
assert at_end[0] < 1.01 * memory
assert at_end[1:] == (files, threads)
assert sorted(os.listdir(sys.argv[1])) == ["damaged", "model"]
