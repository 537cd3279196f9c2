"""Train with the activation and the objective that test_new_rows.py has added to a copy of the package."""

import sys
from pathlib import Path

import numpy as np

import fastmlp
from fastmlp import kernels, reference

assert Path(fastmlp.__file__).is_relative_to(sys.argv[1]), fastmlp.__file__
rng = np.random.default_rng(0)
for sizes in ((3, 4, 2), (3, 20, 7, 2)):
    for dtype in ("float32", "float64"):
        for paths in (kernels.fast_path_names(), ()):
            with kernels.use(fast_paths=paths):
                net = fastmlp.MLP(sizes, activation="softsign", objective="log_cosh", dtype=dtype, seed=1)
                X = rng.normal(size=(37, 3)).astype(dtype)
                Y = X[:, :2] - X[:, 2:]
                settings = {"activation": "softsign", "objective": "log_cosh"}
                weights = [W.astype(np.float64) for W in net.weights]
                loss, gradients = reference.loss_and_gradients(
                    X.astype(np.float64), Y.astype(np.float64), weights, **settings
                )
                bounds = reference.error_bounds(X, Y, net.weights, dtype=dtype, **settings)
                found, ours = net.loss_and_gradients(X, Y)
                assert abs(found - loss) <= bounds["loss"]
                for gradient, truth, bound in zip(ours, gradients, bounds["gradients"], strict=True):
                    assert np.all(np.abs(gradient - truth) <= bound)
                before = net.loss(X, Y)
                history = fastmlp.Trainer(net, learning_rate=0.05).fit(X, Y, epochs=60)
                assert history.stop_reason == "epochs"
                assert net.loss(X, Y) < 0.8 * before
                net.save("net.safetensors")
                loaded = fastmlp.MLP.load("net.safetensors")
                assert loaded.activations == net.activations
                assert loaded.objective == net.objective
                np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
                net.to_onnx("net.onnx")
                net.to_c("net.c")
print("trained")
