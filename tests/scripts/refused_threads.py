"""The system gives memory for the stacks of so many more threads, and no more: the others do the work."""

import os
import resource
import sys
import time

import numpy as np

from fastmlp import MLP, Trainer, kernels

stacks = int(sys.argv[1])
os.sched_getaffinity = lambda process: set(range(64))
threads = "/proc/self/task"
before = len(os.listdir(threads))
X, y = np.random.default_rng(0).normal(size=(60_000, 16)).astype("float32"), np.ones(60_000, "float32")


def trained(n_threads):
    net = MLP((16, 64, 1), seed=0)
    trainer = Trainer(net, batch_size=None, seed=0, n_threads=n_threads)
    trainer.fit(X, y, 3)
    return net.parameters.tobytes(), net.predict(X, n_threads=n_threads).tobytes()


expected = trained(1)
stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + 2**22 + int(stacks * (stack + 2**20))  # something for the fit itself
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
started = -kernels.module("float32").started_helpers()
found = trained(16)
started += kernels.module("float32").started_helpers()
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
assert found == expected
deadline = time.monotonic() + 30
while len(os.listdir(threads)) > before and time.monotonic() < deadline:
    time.sleep(0.01)
assert len(os.listdir(threads)) == before
print(started)
