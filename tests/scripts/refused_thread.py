"""The system refuses a second thread: the error comes out, and no thread is left waiting."""

import _thread
import sys
import time

import numpy as np

from fastmlp import MLP

started, start = [], _thread.start_new_thread


def refuse(*arguments):  # as an audit hook may
    started.append(arguments)
    if len(started) == 2:
        raise PermissionError("no threads")
    return start(*arguments)


_thread.start_new_thread = refuse
net = MLP((64, 256, 1))
X = np.zeros((20_000, 64), np.float32)
try:
    net.predict(X, n_threads=4)
except PermissionError as error:
    print(error)
deadline = time.monotonic() + 30
while len(sys._current_frames()) > 1 and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(started), len(sys._current_frames()), net.predict(X, n_threads=4).shape, flush=True)
