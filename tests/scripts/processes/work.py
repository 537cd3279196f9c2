"""What the scripts here import: a child that is started afresh has to find the functions by their module."""

import os
import threading

import numpy as np

import fastmlp

SIZES, ROWS = (16, 64, 1), 8000


def problem():
    X = np.random.default_rng(0).normal(size=(ROWS, 16)).astype("float32")
    return X, X[:, 0] * X[:, 1]


def fit(X, y, n_threads=1, **options):
    net = fastmlp.MLP(SIZES, seed=0)
    trainer = fastmlp.Trainer(net, batch_size=None, seed=0, n_threads=n_threads)
    history = trainer.fit(X, y, 5, **options)
    return net.parameters.tobytes(), net.predict(X, n_threads=n_threads).tobytes(), history.loss


def fit_own(n_threads):
    return fit(*problem(), n_threads)


def fit_mapped(X, y, n_threads):
    assert isinstance(X, np.memmap), type(X)
    assert not X.flags.writeable
    return fit(X, y, n_threads)


def os_threads():
    return len(os.listdir("/proc/self/task"))


class Watch:
    # the largest number of threads that this process has had meanwhile, this one's own not counted

    def __enter__(self):
        self.most, self.over = 0, threading.Event()
        self.watcher = threading.Thread(target=self.look)
        self.watcher.start()
        return self

    def look(self):
        while not self.over.wait(1e-3):
            self.most = max(self.most, os_threads() - 1)

    def __exit__(self, *exception):
        self.over.set()
        self.watcher.join()
