"""The network stays as it was until the end of the fit: predictions meanwhile are the old ones."""

import threading
from concurrent.futures import ThreadPoolExecutor

from work import SIZES, problem

import fastmlp

X, y = problem()
net, ending = fastmlp.MLP(SIZES, seed=0), threading.Event()
trainer = fastmlp.Trainer(net, batch_size=None, seed=0)
before, seen, FitLoop = net.predict(X[:500]), [], fastmlp.kernels.fit_loop(net.dtype)


class Ending(FitLoop):
    def finish(self):
        ending.set()
        super().finish()


fastmlp.kernels.fit_loop = lambda dtype: Ending
fitting = threading.Thread(target=trainer.fit, args=(X, y, 400))


def predict(_):
    while not ending.is_set():
        found = net.predict(X[:500])
        if not ending.is_set():  # nor was it during the prediction
            seen.append((found == before).all())


fitting.start()
with ThreadPoolExecutor(4) as pool:
    list(pool.map(predict, range(4)))
fitting.join()
assert len(seen) > 10 and all(seen), (len(seen), all(seen))
assert (net.predict(X[:500]) != before).any()
