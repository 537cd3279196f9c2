"""The elementwise functions, in units in the last place; tools/elementwise_error.py takes all float32."""

import elementwise_error
import numpy as np
import pytest

from fastmlp import activations, kernels
from fastmlp.activations import SELU_ALPHA, SELU_SCALE

STRIDE = 4099  # a prime: a million of the 2**32
EXACT = list(elementwise_error.EXACT)
SLOPES = [
    name for name in activations.ACTIVATIONS if f"{name}_slope" in kernels.module("float32").ELEMENTWISE
]


@pytest.mark.parametrize("name", elementwise_error.EXACT)
def test_float32(build, name):
    error, x = elementwise_error.largest_error(name, STRIDE)
    assert error <= elementwise_error.LIMITS[name], x


@pytest.mark.parametrize("name", EXACT)
def test_float64_against_mpmath(build, name):
    error, x = elementwise_error.largest_error_in_draws(name, 750, np.random.default_rng(len(name)))
    assert error <= elementwise_error.LIMITS[name], x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXACT)
def test_borders(build, name, dtype):
    infinite, nan = np.inf, np.nan
    above = {"tanh": 1, "logistic": 1, "erf": 1}.get(name, infinite)
    below = {
        **{"exp": 0, "expm1": -1, "log": nan, "log1p": nan, "tanh": -1, "logistic": 0, "erf": -1},
        **{"softplus": 0, "elu": -1, "selu": -SELU_SCALE * SELU_ALPHA, "leaky_relu": -infinite},
        **{"silu": 0, "gelu": 0, "mish": 0},
    }[name]
    found = kernels.module(dtype).elementwise(name, np.array([infinite, -infinite, nan], dtype))
    np.testing.assert_allclose(found, [above, below, nan], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SLOPES)
def test_slopes(build, rng, name, dtype):
    x = np.concatenate([rng.normal(size=1000), rng.uniform(-900, 900, 1000), [0.0, np.inf, -np.inf, np.nan]])
    x = x.astype(dtype)
    found = kernels.module(dtype).elementwise(f"{name}_slope", x)
    with np.errstate(all="ignore"):
        expected = activations.ACTIVATIONS[name].slope(x.astype(np.float64))
    assert (np.abs(found - expected)[:-1] <= 8 * np.finfo(dtype).eps).all()
    assert np.isnan(found[-1])
    assert (found[-3:-1] == [1, 0]).all()


def test_kernels_have_a_branch_for_each_activation(build):
    assert tuple(activations.ACTIVATIONS) == kernels.module("float64").ACTIVATIONS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_a_layer_applies_its_activation(build, paths, rng, name, dtype):
    """In both layouts, to vectors that are not full: the table's values, to rounding."""
    for units in (3, 37):
        z = (3 * rng.normal(size=(19, units))).astype(dtype)
        identity = np.vstack([np.eye(units), np.zeros(units)]).astype(dtype)
        found = kernels.forward(z, (identity, identity), activation=name)
        expected = activations.ACTIVATIONS[name].value(z.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("activation", "hidden"),
    [("sine", 1), (("relu", "sine"), 2), (("relu",), 2), (("relu", "tanh"), 1), (7, 1), ((None,), 1)],
)
def test_what_is_no_activation(activation, hidden):
    with pytest.raises((ValueError, TypeError), match=r"^activation: "):
        activations.resolve(activation, hidden)
