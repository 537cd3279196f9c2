"""SIGTERM that nobody handles kills at once; the checkpoint on disk is whole, and leads where the fit would
have gone.
"""

import os
import signal
import sys
import time

from start import path

import fastmlp
from fastmlp import MLP, Trainer

signal.signal(signal.SIGTERM, signal.SIG_DFL)
X, y = (part[:200] for part in fastmlp.load_titanic())


def fit(**options):
    trainer = Trainer(MLP((3, 4, 1), dtype="float64", seed=1), seed=1, standardize=True)
    trainer.fit(X, y, 400, **options)
    return trainer.network.parameters


expected = fit()
child = os.fork()
if child == 0:
    fit(checkpoint=path, checkpoint_every=10, callback=lambda *_: time.sleep(0.002))
    os._exit(0)
deadline = time.monotonic() + 30
while not os.path.exists(path) and time.monotonic() < deadline:
    time.sleep(0.001)
time.sleep(float(sys.argv[1]))
os.kill(child, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
resumed = Trainer.resume(path, X, y)
assert (resumed.network.parameters == expected).all()
assert len(resumed.history.loss) == 400
