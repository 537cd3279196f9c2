"""The elementwise functions, in units in the last place; tools/elementwise_error.py takes all float32."""

import elementwise_error
import mpmath
import numpy as np
import pytest
from exactly import FUNCTIONS

from fastmlp import activations, kernels
from fastmlp.activations import SELU_ALPHA, SELU_SCALE

STRIDE = 4099  # a prime: a million of the 2**32
EXACT = {name: FUNCTIONS[name] for name in elementwise_error.EXACT}
SLOPES = [
    name for name in activations.ACTIVATIONS if f"{name}_slope" in kernels.module("float32").ELEMENTWISE
]


@pytest.mark.parametrize("name", elementwise_error.EXACT)
def test_float32(build, name):
    error, x = elementwise_error.largest_error(name, STRIDE)
    assert error <= elementwise_error.LIMITS[name], x


def float64_draws(name, rng):
    """Numbers of every size, those around which something happens, and the borders."""
    x = np.concatenate(
        [
            rng.uniform(-1, 1, 150),
            rng.uniform(-20, 20, 300),
            rng.uniform(-800, 720, 150),
            rng.choice([-1, 1], 150) * 10.0 ** rng.uniform(-320, 308, 150),
            [0.0, -0.0, 5e-324, -5e-324, 2.3e-308, 1.0, -1.0, 0.75, 0.625, 709.78, -708.4, -745.13, -38.5],
        ]
    )
    if name == "log":
        return np.abs(x)
    return x[x > -1] if name == "log1p" else x


@pytest.mark.parametrize("name", EXACT)
def test_float64_against_mpmath(build, name):
    x = float64_draws(name, np.random.default_rng(list(EXACT).index(name)))
    found = kernels.module("float64").elementwise(name, x)
    for number, ours in zip(x.tolist(), found.tolist(), strict=True):
        if name == "log" and number == 0:
            assert ours == -np.inf
            continue
        if abs(number) > 1e4 and name in ("silu", "gelu", "mish", "softplus", "elu", "selu"):
            # the truth underflows where number < 0, and is the number elsewhere
            truth = 0.0 if number < 0 and name not in ("elu", "selu") else None
            if truth is not None:
                assert ours == 0
                continue
        truth = EXACT[name](mpmath.mpf(number))
        nearest = float(truth)
        if np.isinf(nearest):
            assert ours == nearest
            continue
        unit = np.spacing(abs(nearest))
        assert abs(mpmath.mpf(ours) - truth) <= elementwise_error.LIMITS[name] * unit, number


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
