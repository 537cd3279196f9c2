"""The first batch ruins the weights, and Ctrl-C comes in the second, before the loss of an epoch has told.

The loop looks for signals after so much work that the first batch is over by then: a signal that is there
from the start ends the second.
"""

import _thread
import signal
import sys

import numpy as np
import start  # noqa: F401

from fastmlp import MLP, Trainer, kernels

net = MLP((50, 1000, 1), seed=1)
Fit = kernels.fit_loop(net.dtype)


class Interrupted(Fit):
    def run(self, *arguments):
        run, sending = super().run, map(_thread.interrupt_main, [signal.SIGINT])
        (_,) = sending  # sent by an unpacking: after a call it would be handled in here
        return run(*arguments)


kernels.fit_loop = lambda dtype: Interrupted
X = np.random.default_rng(0).random((4000, 50), dtype="float32")
before = net.parameters.copy()
trainer = Trainer(net, sys.argv[1], float(sys.argv[2]), batch_size=2000, shuffle=False)
history = trainer.fit(X, X[:, 0])
assert history.stop_reason == "interrupted" and not history.loss
assert trainer._state.steps == 1
assert (net.parameters == before).all()
