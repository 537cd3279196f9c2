"""One call over so many rows that it takes a second or so, alone and with a signal soon after its start."""

import signal
import sys
import time

import numpy as np
import start  # noqa: F401

from fastmlp import MLP

rng = np.random.default_rng(1)
net = MLP((64, 256, 1), seed=1)
X, y = np.ones((400_000, 64), np.float32), np.ones(400_000, np.float32)
call = {
    "predict": lambda: net.predict(X),
    "predict on two threads": lambda: net.predict(X, n_threads=2),
    "loss": lambda: net.loss(X, y),
    "gradients": lambda: net.loss_and_gradients(X, y),
}[sys.argv[1]]
started = time.perf_counter()
call()
whole = time.perf_counter() - started
signal.setitimer(signal.ITIMER_REAL, whole / 10)
started = time.perf_counter()
try:
    call()
except KeyboardInterrupt:
    print((time.perf_counter() - started) / whole < 0.7)
