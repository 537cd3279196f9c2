"""A child that is forked in a callback has no fit in progress."""

import os

import numpy as np

import fastmlp

X = np.random.default_rng(0).normal(size=(30, 3))
trainer = fastmlp.Trainer(fastmlp.MLP((3, 4, 1)), seed=1)


def fork(epoch, history):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(trainer.fit(X, X[:, 0], epochs=2).stop_reason != "epochs")
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


trainer.fit(X, X[:, 0], epochs=2, callback=fork)
