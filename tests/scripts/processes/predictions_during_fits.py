"""Predictions while a network is fitted: any mixture of two states, never more."""

import threading

import numpy as np
from work import SIZES, problem

import fastmlp

X, y = problem()
few = X[:10].copy()
net, stop = fastmlp.MLP(SIZES, seed=0), threading.Event()


def fit_on():
    trainer = fastmlp.Trainer(net, seed=0, standardize=True, n_threads=2)
    while not stop.is_set():
        trainer.fit(X, y, 3, callback=lambda *_: None)


def predict():
    for i in range(300):
        some = few if i % 2 else X
        E = net.predict(some, n_threads=1 + i % 3)
        assert E.shape == (len(some),) and np.isfinite(E).all() and (np.abs(E) < 1e3).all()


fitting = threading.Thread(target=fit_on)
fitting.start()
failed, threading.excepthook = [], lambda args: failed.append(args.exc_value)
predicting = [threading.Thread(target=predict) for _ in range(4)]
for thread in predicting:
    thread.start()
for thread in predicting:
    thread.join()
stop.set()
fitting.join()
assert not failed, failed
