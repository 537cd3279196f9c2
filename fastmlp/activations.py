"""THE table of activations: what a hidden layer makes of z. Their kernels are in kernels/activations.pxi.

A row is all there is to say of an activation in Python: its values and derivatives in NumPy (the
specification, which the kernels are tested against), the starting weights that suit it, and how PyTorch, ONNX
and C spell it. Nothing else in the package knows an activation by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al., NeurIPS 2017
LEAK = 0.01

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _logistic(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def _softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _silu(z):
    return np.where(np.isneginf(z), 0, z) * _logistic(z)


def _silu_slope(z):
    return _logistic(z) * (1 + np.where(np.isinf(z), 0, z) * _logistic(-z))


def _normal(z):
    """The distribution function of the standard normal distribution."""
    return _erfc(-z / math.sqrt(2)) / 2


def _gelu(z):
    return np.where(np.isneginf(z), 0, z) * _normal(z)


def _gelu_slope(z):
    finite = np.where(np.isinf(z), 0, z)
    return _normal(z) + finite * np.exp(-(finite**2) / 2) / math.sqrt(2 * math.pi)


def _mish(z):
    return np.where(np.isneginf(z), 0, z) * np.tanh(_softplus(z))


def _mish_slope(z):
    t = np.tanh(_softplus(z))
    return t + np.where(np.isinf(z), 0, z) * _logistic(z) * (1 - t) * (1 + t)


@dataclass(frozen=True)
class Activation:
    """A row of the table.

    Parameters
    ----------
    value, slope : callable
        f(z) and f'(z) for a float array; NaN gives NaN.
    init : str
        The initializer that suits it (`fastmlp.network.INITIALIZERS`).
    torch : (str, dict)
        Class in ``torch.nn`` and arguments.
    onnx : tuple of (str, tuple, dict)
        Nodes: operator, inputs and attributes. An input is "z", the number of a node before, or a constant.
    c : str
        An expression of ``z``; ``{f}`` ends the names of functions of ``float``.
    largest_slope, largest_curvature : float
        The largest absolute values of f' and f'' (where it exists), for error bounds.
    has_kink : bool
        Whether f' jumps at 0.
    """

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    init: str
    torch: tuple[str, dict[str, Any]]
    onnx: tuple[tuple[str, tuple, dict[str, Any]], ...]
    c: str
    largest_slope: float = 1.0
    largest_curvature: float = 0.0
    has_kink: bool = False


# Where z is NaN, comparisons are False: each expression then gives NaN. Derivatives at 0 are those from the
# left.
ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(
        lambda z: z, lambda z: np.where(np.isnan(z), z, 1), "glorot", ("Identity", {}), (), "z"
    ),
    "relu": Activation(
        lambda z: np.where(z <= 0, 0, z),
        lambda z: np.where(z <= 0, 0, np.where(np.isnan(z), z, 1)),
        "he",
        ("ReLU", {}),
        (("Relu", ("z",), {}),),
        "z < 0 ? 0 : z",
        has_kink=True,
    ),
    "leaky_relu": Activation(
        lambda z: np.where(z <= 0, LEAK * z, z),
        lambda z: np.where(z <= 0, LEAK, np.where(np.isnan(z), z, 1)),
        "he",
        ("LeakyReLU", {"negative_slope": LEAK}),
        (("LeakyRelu", ("z",), {"alpha": LEAK}),),
        f"z < 0 ? ({{real}}){LEAK} * z : z",
        has_kink=True,
    ),
    "elu": Activation(
        lambda z: np.where(z <= 0, np.expm1(np.minimum(z, 0)), z),
        lambda z: np.where(z <= 0, np.exp(np.minimum(z, 0)), np.where(np.isnan(z), z, 1)),
        "he",
        ("ELU", {"alpha": 1.0}),
        (("Elu", ("z",), {"alpha": 1.0}),),
        "z < 0 ? expm1{f}(z) : z",
        largest_curvature=1.0,
    ),
    "selu": Activation(
        lambda z: SELU_SCALE * np.where(z <= 0, SELU_ALPHA * np.expm1(np.minimum(z, 0)), z),
        lambda z: (
            SELU_SCALE * np.where(z <= 0, SELU_ALPHA * np.exp(np.minimum(z, 0)), np.where(np.isnan(z), z, 1))
        ),
        "lecun",
        ("SELU", {}),
        (("Selu", ("z",), {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),),
        f"z < 0 ? ({{real}}){SELU_SCALE * SELU_ALPHA} * expm1{{f}}(z) : ({{real}}){SELU_SCALE} * z",
        largest_slope=SELU_ALPHA * SELU_SCALE,
        largest_curvature=SELU_ALPHA * SELU_SCALE,
        has_kink=True,
    ),
    "tanh": Activation(
        np.tanh,
        lambda z: (1 - np.tanh(z)) * (1 + np.tanh(z)),
        "glorot",
        ("Tanh", {}),
        (("Tanh", ("z",), {}),),
        "tanh{f}(z)",
        largest_curvature=0.77,
    ),
    "logistic": Activation(
        _logistic,
        lambda z: _logistic(z) * _logistic(-z),
        "glorot",
        ("Sigmoid", {}),
        (("Sigmoid", ("z",), {}),),
        "1 / (1 + exp{f}(-z))",
        largest_slope=0.25,
        largest_curvature=0.1,
    ),
    "softplus": Activation(
        _softplus,
        _logistic,
        "he",
        ("Softplus", {"threshold": 40.0}),  # PyTorch's own, 20, is linear where float64 still sees the curve
        (("Softplus", ("z",), {}),),
        "(z > 0 ? z : 0) + log1p{f}(exp{f}(-fabs{f}(z)))",
        largest_curvature=0.25,
    ),
    "silu": Activation(
        _silu,
        _silu_slope,
        "he",
        ("SiLU", {}),
        (("Sigmoid", ("z",), {}), ("Mul", ("z", 0), {})),
        "z < -800 ? 0 : z / (1 + exp{f}(-z))",
        largest_slope=1.1,
        largest_curvature=0.5,
    ),
    "gelu": Activation(
        _gelu,
        _gelu_slope,
        "he",
        ("GELU", {"approximate": "none"}),
        (
            ("Mul", ("z", math.sqrt(0.5)), {}),
            ("Erf", (0,), {}),
            ("Add", (1, 1.0), {}),
            ("Mul", ("z", 2), {}),
            ("Mul", (3, 0.5), {}),
        ),
        "z < -800 ? 0 : z / 2 * erfc{f}(z * ({real})-0.70710678118654752)",
        largest_slope=1.13,
        largest_curvature=0.8,
    ),
    "mish": Activation(
        _mish,
        _mish_slope,
        "he",
        ("Mish", {}),
        (("Softplus", ("z",), {}), ("Tanh", (0,), {}), ("Mul", ("z", 1), {})),
        "z < -800 ? 0 : z * tanh{f}((z > 0 ? z : 0) + log1p{f}(exp{f}(-fabs{f}(z))))",
        largest_slope=1.09,
        largest_curvature=0.65,
    ),
}


def resolve(activation: str | Iterable[str], hidden_layers: int) -> tuple[str, ...]:
    """Return a name for each hidden layer, of one for all or one for each.

    Raises
    ------
    ValueError, TypeError
        A name is not in the table, or there are not as many as hidden layers.

    Examples
    --------
    >>> resolve("tanh", 2)
    ('tanh', 'tanh')
    """
    if isinstance(activation, str):
        names: tuple = (activation,) * hidden_layers
        unknown = set() if activation in ACTIVATIONS else {activation}
    else:
        if not np.iterable(activation):
            raise TypeError(f"activation: must be a name, or one for each hidden layer, got {activation!r}")
        names = tuple(activation)
        unknown = {name for name in names if not isinstance(name, str) or name not in ACTIVATIONS}
    if unknown:
        raise ValueError(
            f"activation: must be of {', '.join(ACTIVATIONS)}, got {', '.join(sorted(map(repr, unknown)))}"
        )
    if len(names) != hidden_layers:
        raise ValueError(
            f"activation: must be one name, or one for each of the {hidden_layers} hidden layers, got {names}"
        )
    return tuple(str(name) for name in names)
