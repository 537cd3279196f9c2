"""Read-only memory maps of each argument, of files that may not be written to; not a byte of them changes."""

import os

import numpy as np
from work import SIZES, problem

import fastmlp

X, y = problem()
w = np.abs(y) + 1
maps = []
for name, array in (("X", X), ("y", y), ("w", w)):
    np.save(name + ".npy", array)
    os.chmod(name + ".npy", 0o444)
    maps.append(np.load(name + ".npy", mmap_mode="r"))
    assert isinstance(maps[-1], np.memmap) and not maps[-1].flags.writeable
for standardize in (False, True):
    found = []
    for X_, y_, w_ in ((X, y, w), maps):
        net = fastmlp.MLP(SIZES, seed=0)
        trainer = fastmlp.Trainer(net, seed=0, standardize=standardize, n_threads=2)
        history = trainer.fit(X_, y_, 3, sample_weight=w_, validation_data=(X_, y_))
        loss, gradients = net.loss_and_gradients(X_, y_, w_)
        kept = net.predict(X_), *gradients, net.parameters
        found.append((history.loss, history.validation_loss, loss, [a.tobytes() for a in kept]))
    assert found[0] == found[1]
for name, array in (("X", X), ("y", y), ("w", w)):
    assert (np.load(name + ".npy") == array).all()
