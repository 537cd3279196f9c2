"""Arrays that another thread changes: training ends, with finite weights, and the next fit is sound."""

import sys
import threading
import warnings

import numpy as np
from work import ROWS, SIZES, problem

import fastmlp

changed, n_threads = sys.argv[1], int(sys.argv[2])
warnings.simplefilter("ignore", RuntimeWarning)  # of divergence
stop = threading.Event()
for shuffle in (False, True):
    X, y = problem()
    w = np.ones(len(y), dtype="float32")
    as_they_were = X.copy(), y.copy()

    def change():
        rng = np.random.default_rng(1)
        while not stop.is_set():
            rows = rng.integers(ROWS, size=1000)
            if changed == "numbers":
                X[rows] = rng.normal(size=(1000, 16)) * 10.0 ** rng.integers(-3, 4)
                y[rows] = rng.normal(size=1000)
            elif changed == "nan":
                X[rows], y[rows[:10]] = np.nan, np.inf
                y[rows] = 1
            else:
                w[rows] = rng.choice([0, -1, 1e30, np.nan, 1])

    changing = threading.Thread(target=change)
    net = fastmlp.MLP(SIZES, seed=0)
    trainer = fastmlp.Trainer(net, batch_size=1000, seed=0, n_threads=n_threads, shuffle=shuffle)

    def begin(epoch, history):
        if not changing.ident:
            changing.start()

    history = trainer.fit(X, y, 200, sample_weight=w, validation_data=(X, y), callback=begin)
    stop.set()
    changing.join()
    stop.clear()
    assert history.stop_reason in ("epochs", "diverged"), history.stop_reason
    assert np.isfinite(net.parameters).all()
    assert not (as_they_were[0] == X).all() or not (w == 1).all()
    assert trainer.fit(*as_they_were, 2).stop_reason == "epochs"
    assert np.isfinite(net.predict(as_they_were[0])).all()
