"""Schedules: the formulas, and that the compiled loop follows them."""

import numpy as np
import pytest

from fastmlp import MLP, SGD, Trainer, schedules
from fastmlp.schedules import Constant, Cosine, Coslog, Inverse, Warmup

ALL = [
    Constant(),
    Cosine(),
    Coslog(),
    Coslog(cycles=2),
    Inverse(),
    Inverse(power=1.0),
    Warmup(0.3),
    Warmup(0.25, "cosine"),
    Warmup(0.2, Coslog(3)),
]


def problem():
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, 3)), rng.normal(size=(20, 1))


def expected_parameters(schedule, epochs, batch_size):
    """Steps of gradient descent, whose rates the schedule gives."""
    X, Y = problem()
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    batches = -(-len(X) // batch_size)
    for epoch in range(epochs):
        for batch in range(batches):
            part = slice(batch * batch_size, (batch + 1) * batch_size)
            _, gradients = net.loss_and_gradients(X[part], Y[part])
            step, steps = epoch * batches + batch, epochs * batches
            rate = 0.1 * schedule.factor(step / steps, epoch)
            if isinstance(schedule, Warmup) and step / steps < schedule.fraction:
                rate = 0.1 * min(1, (step + 1) / (schedule.fraction * steps))
            for W, dW in zip(net.weights, gradients, strict=True):
                W -= rate * dW
    return net.parameters


@pytest.mark.parametrize("batch_size", [6, 20])
@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_the_compiled_loop_follows_the_formula(build, schedule, batch_size):
    X, Y = problem()
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    trainer = Trainer(net, SGD(0.1), batch_size=batch_size, schedule=schedule, shuffle=False)
    trainer.fit(X, Y, epochs=5)
    expected = expected_parameters(schedule, 5, batch_size)
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-12)


def test_formulas_at_their_ends():
    assert Cosine().factor(0) == 1
    assert abs(Cosine().factor(1)) < 1e-15
    assert [round(Coslog().factor(t), 12) for t in (0, 1 / 15, 3 / 15, 7 / 15, 1)] == [0, 0, 0, 0, 0]
    np.testing.assert_allclose(Coslog().factor((2**0.5 - 1) / 15), 1)
    assert Inverse().factor(0, 0) == 1
    assert Inverse(power=2.0).factor(0, 1) == 0.25


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_names_and_descriptions(name):
    schedule = schedules.resolve(name)
    assert schedule.name == name
    for each in (schedule, Warmup(0.1, schedule)):
        assert schedules.from_description(schedules.described(each)) == each


@pytest.mark.parametrize(
    "call",
    [
        lambda: Trainer(MLP((3, 4, 1)), schedule="linear"),
        lambda: Trainer(MLP((3, 4, 1)), schedule=None),
        lambda: Warmup(0.0),
        lambda: Warmup(1.0),
        lambda: Warmup(0.1, Warmup(0.1)),
        lambda: Inverse(power=-1),
        lambda: Coslog(0),
    ],
)
def test_what_is_no_schedule(call):
    with pytest.raises((ValueError, TypeError)):
        call()


@pytest.mark.parametrize("schedule", ["cosine", Warmup(0.4, "coslog")], ids=str)
def test_a_resumed_fit_goes_on_in_the_schedule(tmp_path, schedule):
    X, Y = problem()

    def trainer():
        net = MLP((3, 5, 4, 1), activation="tanh", dtype="float64", seed=1)
        return Trainer(net, batch_size=6, schedule=schedule, seed=3)

    whole = trainer()
    whole.fit(X, Y, epochs=9)
    path = tmp_path / "checkpoint.safetensors"

    def stop(epoch, history):
        if epoch == 4:
            raise SystemExit

    with pytest.raises(SystemExit):
        trainer().fit(X, Y, epochs=9, callback=stop, checkpoint=path, checkpoint_every=2)
    resumed = Trainer.resume(path, X, Y, schedule=schedule)
    assert resumed.history.loss == whole.history.loss
    np.testing.assert_array_equal(resumed.network.parameters, whole.network.parameters)


def test_a_new_fit_begins_anew():
    X, Y = problem()
    net = MLP((3, 4, 1), dtype="float64", seed=1)
    trainer = Trainer(net, SGD(0.1), batch_size=None, schedule="cosine")
    trainer.fit(X, Y, epochs=4)
    before = net.parameters.copy()
    _, gradients = net.loss_and_gradients(X, Y)
    trainer.fit(X, Y, epochs=1)  # one step, at the whole rate
    step = np.concatenate([dW.ravel() for dW in gradients])
    np.testing.assert_allclose(net.parameters, before - 0.1 * step, rtol=1e-12)
