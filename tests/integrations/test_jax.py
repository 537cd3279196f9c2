"""Against JAX, in float64. Run by `pytest -m peers`, and only there; without JAX they fail."""

import numpy as np
import pytest

from fastmlp import MLP, activations, kernels, objectives

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def jax():
    import jax

    with jax.enable_x64(True):
        yield jax


def functions(jax):
    """JAX's functions of the names of our activations."""
    nn = jax.nn
    return {
        **{name: getattr(nn, name) for name in ("relu", "elu", "selu", "tanh", "softplus", "silu", "mish")},
        "identity": lambda z: z,
        "leaky_relu": lambda z: nn.leaky_relu(z, activations.LEAK),
        "logistic": nn.sigmoid,
        "gelu": lambda z: nn.gelu(z, approximate=False),
    }


def losses(jax, raw, y):
    """The losses of the rows for the objectives that JAX has the parts of."""
    nn, np = jax.nn, jax.numpy
    return {
        "squared_error": lambda: np.mean((raw - y) ** 2, axis=1),
        "poisson": lambda: np.mean(np.exp(raw) - y * raw + jax.scipy.special.xlogy(y, y) - y, axis=1),
        "binary_log_loss": lambda: np.mean(np.logaddexp(0, raw) - y * raw, axis=1),
        "log_loss": lambda: -np.sum(y * nn.log_softmax(raw), axis=1),
    }


TARGETS = {
    "squared_error": lambda rng, shape: rng.normal(size=shape),
    "poisson": lambda rng, shape: rng.poisson(2, size=shape).astype(float),
    "binary_log_loss": lambda rng, shape: rng.uniform(size=shape),
    "log_loss": lambda rng, shape: rng.dirichlet(np.ones(shape[1]), shape[0]),
}


@pytest.mark.parametrize("objective", TARGETS)
@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (6,), (7, 17, 3, 6)], ids=str)
def test_gradients_are_those_of_jax(jax, rng, objective, activation, hidden):
    net = MLP((4, *hidden, 3), activation=activation, objective=objective, dtype="float64", seed=3)
    X, y, w = rng.normal(size=(40, 4)), TARGETS[objective](rng, (40, 3)), rng.uniform(0.1, 1, 40)

    def loss(weights):
        a = X
        for layer, W in enumerate(weights):
            z = a @ W[:-1] + W[-1]
            a = functions(jax)[activation](z) if layer < len(hidden) else z
        return w @ losses(jax, a, y)[objective]() / w.sum()

    expected, gradients = jax.value_and_grad(loss)(list(map(jax.numpy.asarray, net.weights)))
    for isa in kernels.AVAILABLE_ISAS:
        with kernels.use(isa):
            found, ours = net.loss_and_gradients(X, y, sample_weight=w)
        assert abs(found - float(expected)) <= 1e-12 * max(1, abs(found))
        for mine, theirs in zip(ours, gradients, strict=True):
            assert np.abs(mine - theirs).max() <= 1e-12 * max(np.abs(theirs).max(), 1e-3)


def test_the_objectives_of_the_table_are_named():
    assert TARGETS.keys() < objectives.OBJECTIVES.keys()
