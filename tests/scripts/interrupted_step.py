"""Ctrl-C in the middle of a step that takes minutes: the fit ends soon, and the next one works."""

import os
import signal
import threading
import time

import numpy as np

import fastmlp

X = np.random.default_rng(0).normal(size=(400_000, 100)).astype("float32")
net = fastmlp.MLP((100, 2000, 1), seed=1)
trainer = fastmlp.Trainer(net, batch_size=None, learning_rate=1e-4)
before = net.parameters.copy()
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.process_time()  # not the wall's: a busy machine is not our fault
history = trainer.fit(X, X[:, 0], epochs=1000)
print(history.stop_reason, time.process_time() - started < 2, np.isfinite(net.parameters).all())
again = trainer.fit(X[:100], X[:100, 0], epochs=2)
print(again.stop_reason, len(again.loss), (net.parameters != before).any())
