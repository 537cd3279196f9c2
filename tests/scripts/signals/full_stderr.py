"""A progress bar that cannot be written raises like others, at whichever moment of the fit it does."""

import os
import sys

from start import outcome

import fastmlp
from fastmlp import MLP, Trainer

X, y = fastmlp.load_titanic()
trainer = Trainer(MLP((3, 4, 1), seed=1), batch_size=None)
before = trainer.network.parameters.copy()
stderr, sys.stderr = sys.stderr, open("/dev/full", "w")
ended = outcome(trainer.fit, X, y, 4, progress=True)
sys.stderr = stderr
assert ended == "OSError", ended
assert (trainer.network.parameters == before).all()
assert trainer.fit(X, y, 4, progress=True).stop_reason == "epochs"
print("done", flush=True)
os._exit(0)  # closing the full file would fail once more
