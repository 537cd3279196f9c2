"""The functions on C pointers (fastmlp/capi.pxd), called by ctypes; cimport/ calls them from Cython."""

import ctypes

import numpy as np
import pytest

from fastmlp import MLP, kernels

SIZE = ctypes.c_ssize_t
POINTER = ctypes.c_void_p
CASES = [
    (dict(sizes=(3, 4, 1)), 1),
    (dict(sizes=(3, 4, 1)), 1309),
    (dict(sizes=(5, 13, 2)), 100),
    (dict(sizes=(16, 64, 1)), 5),
    (dict(sizes=(16, 64, 1)), 70),
    (dict(sizes=(7, 33, 3)), 300),
    (dict(sizes=(4, 1)), 17),
    (dict(sizes=(4, 16, 16, 3), activation="tanh", objective="log_loss"), 40),
    (dict(sizes=(6, 40, 33, 2), activation=("silu", "selu"), objective="poisson"), 300),
]


def pointer(capsule, name):
    """The pointer that is kept in a capsule."""
    unwrap = ctypes.pythonapi.PyCapsule_GetPointer
    unwrap.restype, unwrap.argtypes = POINTER, [ctypes.py_object, ctypes.c_char_p]
    return unwrap(capsule, name)


def functions(dtype):
    """The C functions of the kernels in use: predict, and loss_and_gradients."""
    module = kernels.module(dtype)
    predict = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER, POINTER, SIZE, ctypes.c_int, POINTER)
    gradients = ctypes.CFUNCTYPE(ctypes.c_int, *[POINTER] * 5, SIZE, POINTER, POINTER)
    return (
        predict(pointer(module.predict_pointer, b"fastmlp.predict")),
        gradients(pointer(module.loss_and_gradients_pointer, b"fastmlp.loss_and_gradients")),
    )


def network_of(net, columns=1):
    return pointer(net._network(columns).pointer, b"fastmlp.network")


def address(array):
    return None if array is None else array.ctypes.data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("net", "n"), CASES, ids=str)
def test_predictions_have_the_bits_of_predict(build, rng, net, n, dtype):
    net = MLP(**net, dtype=dtype)
    X = rng.normal(size=(n, net.sizes[0])).astype(dtype)
    out = np.full((n, net.sizes[-1]), np.nan, dtype)
    predict, _ = functions(dtype)
    for raw in (False, True):
        found = predict(network_of(net), address(net.parameters), address(X), n, not raw, address(out))
        assert found == 0
        np.testing.assert_array_equal(out, net.predict(X, raw=raw).reshape(out.shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("net", "n"), CASES, ids=str)
def test_loss_and_gradients_have_the_bits_of_the_method(build, rng, net, n, weighted, dtype):
    net = MLP(**net, dtype=dtype)
    X = rng.normal(size=(n, net.sizes[0])).astype(dtype)
    Y = rng.dirichlet(np.ones(net.sizes[-1]), n).astype(dtype)
    Y[:, 0] = 1 - Y[:, 1:].sum(axis=1)
    w = rng.uniform(0.5, 1, n).astype(dtype) if weighted else None
    gradients = np.full_like(net.parameters, np.nan)
    _, call = functions(dtype)
    with_gradients, expected_gradients = net.loss_and_gradients(X, Y, w)
    for out, expected in ((None, net.loss(X, Y, w)), (gradients, with_gradients)):
        loss = ctypes.c_double()
        data = (address(net.parameters), address(X), address(Y), address(w), n)
        network = network_of(net, net.sizes[-1])
        assert call(network, *data, ctypes.addressof(loss), address(out)) == 0
        assert loss.value == expected
    np.testing.assert_array_equal(gradients, np.concatenate([dW.ravel() for dW in expected_gradients]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_memory_is_minus_1(build, dtype):
    predict, loss_and_gradients = functions(dtype)
    # more than a process can address
    network = kernels.compiled((1, 2**45, 1), ("relu",), np.dtype(dtype))
    handle = pointer(network.pointer, b"fastmlp.network")
    assert predict(handle, None, None, 1, True, None) == -1
    assert loss_and_gradients(handle, None, None, None, None, 1, None, None) == -1
