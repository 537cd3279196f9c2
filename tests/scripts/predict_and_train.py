"""Predictions, gradients and fits of sums and products alone, as JSON.

NumPy and the C library choose their code by the CPU too, and an exponential's last bit with it. (Adam's has a
power.) The order of sums follows the caches: here the same for every CPU.
"""

import json

import numpy as np

import fastmlp

results = {}
with fastmlp.kernels.use(caches=(32 << 10, 512 << 10)):
    for dtype in ("float32", "float64"):
        for sizes in ((3, 4, 1), (5, 13, 2), (7, 33, 1), (6, 16, 3)):
            d, h, m = sizes
            rng = np.random.default_rng(0)
            X, Y = rng.integers(-8, 9, (100, d)) / 4, rng.integers(-8, 9, (100, m)) / 4
            net = fastmlp.MLP(sizes, dtype=dtype)
            net.parameters[:] = rng.integers(-8, 9, net.parameters.size) / 16
            case = f"{dtype} {sizes}"
            results[case + " E"] = net.predict(X).ravel().tolist()
            loss, gradients = net.loss_and_gradients(X, Y)
            results[case + " gradients"] = [loss, *np.concatenate([g.ravel() for g in gradients]).tolist()]
            sgd = fastmlp.SGD(0.001, momentum=0.9)
            history = fastmlp.Trainer(net, sgd, seed=1, n_threads=2).fit(X, Y, epochs=3)
            results[case + " trained"] = history.loss + net.parameters.tolist()
            fastmlp.Trainer(net, "adam", seed=1).fit(X, Y, epochs=1)
            assert np.isfinite(net.parameters).all()
print(json.dumps([fastmlp.kernels.ISA, fastmlp.kernels.AVAILABLE_ISAS, results]))
