"""The functions on C pointers (fastmlp/capi.pxd), called by ctypes; tests/cimport calls them from Cython."""

import ctypes

import numpy as np
import pytest

from fastmlp import MLP, kernels

SIZE = ctypes.c_ssize_t
POINTER = ctypes.c_void_p
CASES = [
    ((3, 4, 1), 1),
    ((3, 4, 1), 1309),
    ((5, 13, 2), 100),
    ((16, 64, 1), 5),
    ((16, 64, 1), 70),
    ((7, 33, 3), 300),
]


def function(capsule, *arguments):
    """The C function that a module keeps in a capsule."""
    unwrap = ctypes.pythonapi.PyCapsule_GetPointer
    unwrap.restype, unwrap.argtypes = POINTER, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(unwrap(capsule, None))


def functions(dtype):
    """The C functions of the build in use: predict, and loss_and_gradients."""
    module = kernels._modules[np.dtype(dtype)]
    predict = function(module.predict_pointer, POINTER, SIZE, SIZE, SIZE, POINTER, SIZE, POINTER)
    return predict, function(
        module.loss_and_gradients_pointer, POINTER, *[SIZE] * 3, *[POINTER] * 3, SIZE, POINTER, POINTER
    )


def address(array):
    return None if array is None else array.ctypes.data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "n"), CASES)
def test_predictions_have_the_bits_of_predict(build, rng, sizes, n, dtype):
    net = MLP(sizes, dtype=dtype)
    X = rng.normal(size=(n, sizes[0])).astype(dtype)
    E = np.full((n, sizes[2]), np.nan, dtype)
    predict, _ = functions(dtype)
    assert predict(address(net.parameters), *sizes, address(X), n, address(E)) == 0
    np.testing.assert_array_equal(E, net.predict(X).reshape(E.shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("sizes", "n"), CASES)
def test_loss_and_gradients_have_the_bits_of_the_method(build, rng, sizes, n, weighted, dtype):
    net = MLP(sizes, dtype=dtype)
    X, Y = (rng.normal(size=(n, columns)).astype(dtype) for columns in sizes[::2])
    w = rng.uniform(0.5, 1, n).astype(dtype) if weighted else None
    gradients = np.full_like(net.parameters, np.nan)
    _, call = functions(dtype)
    with_gradients, (dW1, dW2) = net.loss_and_gradients(X, Y, w)
    for out, expected in ((None, net.loss(X, Y, w)), (gradients, with_gradients)):
        loss = ctypes.c_double()
        data = (address(net.parameters), *sizes, address(X), address(Y), address(w), n)
        assert call(*data, ctypes.addressof(loss), address(out)) == 0
        assert loss.value == expected
    np.testing.assert_array_equal(gradients, np.concatenate([dW1.ravel(), dW2.ravel()]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_memory_is_minus_1(build, dtype):
    predict, loss_and_gradients = functions(dtype)
    sizes = (1, 2**45, 1)  # more than a process can address
    assert predict(None, *sizes, None, 1, None) == -1
    assert loss_and_gradients(None, *sizes, None, None, None, 1, None, None) == -1
