# cython: language_level=3, boundscheck=False, wraparound=False
"""Somebody's Cython code that predicts and differentiates with fastmlp, without the GIL."""

import time

from cython cimport floating

from fastmlp.capi cimport (
    loss_and_gradients_float32,
    loss_and_gradients_float64,
    predict_float32,
    predict_float64,
)


def predict(const floating[::1] parameters, sizes, const floating[:, ::1] X, floating[:, ::1] E):
    cdef Py_ssize_t d, h, m, n = X.shape[0]
    cdef int failed
    d, h, m = sizes
    with nogil:
        if floating is float:
            failed = predict_float32(&parameters[0], d, h, m, &X[0, 0], n, &E[0, 0])
        else:
            failed = predict_float64(&parameters[0], d, h, m, &X[0, 0], n, &E[0, 0])
    if failed:
        raise MemoryError


def loss_and_gradients(const floating[::1] parameters, sizes, const floating[:, ::1] X,
                       const floating[:, ::1] Y, const floating[::1] weights, floating[::1] gradients):
    cdef Py_ssize_t d, h, m, n = X.shape[0]
    cdef const floating *w = NULL if weights is None else &weights[0]
    cdef floating *g = NULL if gradients is None else &gradients[0]
    cdef double loss
    cdef int failed
    d, h, m = sizes
    with nogil:
        if floating is float:
            failed = loss_and_gradients_float32(&parameters[0], d, h, m, &X[0, 0], &Y[0, 0], w, n, &loss, g)
        else:
            failed = loss_and_gradients_float64(&parameters[0], d, h, m, &X[0, 0], &Y[0, 0], w, n, &loss, g)
    if failed:
        raise MemoryError
    return loss


def seconds_a_row(const float[::1] parameters, sizes, const float[:, ::1] X, Py_ssize_t calls):
    """The time of predict_float32 for one row, of the rows of X in turn."""
    cdef Py_ssize_t d, h, m, _i, row = 0
    cdef float e, total = 0
    d, h, m = sizes
    start = time.perf_counter()
    with nogil:
        for _i in range(calls):
            predict_float32(&parameters[0], d, h, m, &X[row, 0], 1, &e)
            total += e
            row = row + 1 if row + 1 < X.shape[0] else 0
    return (time.perf_counter() - start) / calls, total
