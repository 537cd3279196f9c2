# cython: language_level=3, boundscheck=False, wraparound=False
"""Somebody's Cython code that predicts and differentiates with fastmlp, without the GIL."""

import time

from cython cimport floating

from fastmlp.capi cimport (
    loss_and_gradients_float32,
    loss_and_gradients_float64,
    network_of,
    predict_float32,
    predict_float64,
)


def predict(net, const floating[::1] parameters, const floating[:, ::1] X, floating[:, ::1] out):
    cdef const void *network = network_of(net, 1)
    cdef Py_ssize_t n = X.shape[0]
    cdef int failed
    with nogil:
        if floating is float:
            failed = predict_float32(network, &parameters[0], &X[0, 0], n, True, &out[0, 0])
        else:
            failed = predict_float64(network, &parameters[0], &X[0, 0], n, True, &out[0, 0])
    if failed:
        raise MemoryError


def loss_and_gradients(net, const floating[::1] parameters, const floating[:, ::1] X,
                       const floating[:, ::1] Y, const floating[::1] weights, floating[::1] gradients):
    cdef const void *network = network_of(net, Y.shape[1])
    cdef Py_ssize_t n = X.shape[0]
    cdef const floating *w = NULL if weights is None else &weights[0]
    cdef floating *g = NULL if gradients is None else &gradients[0]
    cdef double loss
    cdef int failed
    with nogil:
        if floating is float:
            failed = loss_and_gradients_float32(
                network, &parameters[0], &X[0, 0], &Y[0, 0], w, n, &loss, g)
        else:
            failed = loss_and_gradients_float64(
                network, &parameters[0], &X[0, 0], &Y[0, 0], w, n, &loss, g)
    if failed:
        raise MemoryError
    return loss


def seconds_a_row(net, const float[::1] parameters, const float[:, ::1] X, Py_ssize_t calls):
    """The time of predict_float32 for one row, of the rows of X in turn."""
    cdef const void *network = network_of(net, 1)
    cdef Py_ssize_t _i, row = 0
    cdef float prediction, total = 0
    start = time.perf_counter()
    with nogil:
        for _i in range(calls):
            predict_float32(network, &parameters[0], &X[row, 0], 1, True, &prediction)
            total += prediction
            row = row + 1 if row + 1 < X.shape[0] else 0
    return (time.perf_counter() - start) / calls, total
