"""A child has the networks and none of the threads: no fit is in progress there."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from work import SIZES, fit, problem

import fastmlp

X, y = problem()
found, nets = fit(X, y), [fastmlp.MLP(SIZES, seed=0) for _ in range(3)]
stop = threading.Event()


def busy(net):
    trainer = fastmlp.Trainer(net, batch_size=None, seed=0, n_threads=2)
    while not stop.is_set():
        trainer.fit(X, y, 2)
        net.predict(X, n_threads=2)


with ThreadPoolExecutor(3) as pool:
    done = [pool.submit(busy, net) for net in nets]
    for _ in range(20):
        child = os.fork()
        if child == 0:
            same = fit(X, y, 2) == found
            # the networks that were being fitted may be fitted here
            reasons = [fastmlp.Trainer(net).fit(X, y, 1).stop_reason for net in nets]
            os._exit(not (same and reasons == ["epochs"] * 3))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stop.set()
for each in done:
    each.result()
