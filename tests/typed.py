"""A user's code, as mypy sees it: what each call takes and returns. Checked in .ci/run, not run."""

from typing import assert_type

import numpy as np

import fastmlp

X, y = fastmlp.load_titanic()
assert_type(y, np.ndarray)
net = fastmlp.MLP((3, 4, 1), dtype="float32", init="he", seed=[1, 2])
assert_type(net.weights, tuple[np.ndarray, ...])
assert_type(net.activations, tuple[str, ...])
assert_type(net.copy(), fastmlp.MLP)
assert_type(net.predict([[29.0, 1.0, 1.0]], n_threads=2), np.ndarray)
assert_type(net.loss(X, y, sample_weight=None), float)
assert_type(net.loss_and_gradients(X, y), tuple[float, tuple[np.ndarray, ...]])
net.save("model.safetensors")
assert_type(fastmlp.MLP.load("model.safetensors"), fastmlp.MLP)


def stop(epoch: int, history: fastmlp.History) -> bool:
    return epoch > 3 and history.loss[-1] < 1


trainer = fastmlp.Trainer(net, fastmlp.SGD(momentum=0.9), batch_size=None, seed=np.random.default_rng(0))
history = trainer.fit(X, y, epochs=5, validation_data=(X, y), patience=3, callback=stop)
assert_type(history, fastmlp.History)
assert_type(history.loss, list[float])
assert_type(history.stop_reason, str | None)
assert_type(fastmlp.kernels.forward(X, net.weights), np.ndarray)
loss, gradients = fastmlp.reference.loss_and_gradients(X, y, net.weights, activation=["relu"])
assert_type(loss, float)
assert_type(gradients, tuple[np.ndarray, ...])
quantiles = fastmlp.MLP((3, 8, 8, 2), activation="tanh", objective=fastmlp.objectives.Quantile((0.1, 0.9)))
fastmlp.Trainer(quantiles, schedule=fastmlp.schedules.Warmup(0.1, "cosine"), l2=1e-4).fit(X, y, epochs=2)
assert_type(fastmlp.show_config("dicts"), dict[str, str] | None)

fastmlp.MLP((3, 1), objective=1)  # type: ignore[arg-type]
fastmlp.Trainer("network")  # type: ignore[arg-type]
net.predict(X, n_threads="two")  # type: ignore[arg-type]
trainer.fit(X, y, callback="stop")  # type: ignore[arg-type]
