"""Functions for other Cython code; capi.pxd describes them. Python code finds nothing here."""

from cpython.pycapsule cimport PyCapsule_GetPointer

from fastmlp import kernels

ctypedef int (*Predict32)(
    const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float *, Py_ssize_t, float *) noexcept nogil
ctypedef int (*Predict64)(
    const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t, double *) noexcept nogil
ctypedef int (*Gradients32)(
    const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float *, const float *, const float *,
    Py_ssize_t, double *, float *) noexcept nogil
ctypedef int (*Gradients64)(
    const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, const double *, const double *,
    Py_ssize_t, double *, double *) noexcept nogil

_single, _double = kernels._modules.values()  # of the build in use
cdef Predict32 predict32 = <Predict32> PyCapsule_GetPointer(_single.predict_pointer, NULL)
cdef Predict64 predict64 = <Predict64> PyCapsule_GetPointer(_double.predict_pointer, NULL)
cdef Gradients32 gradients32 = <Gradients32> PyCapsule_GetPointer(_single.loss_and_gradients_pointer, NULL)
cdef Gradients64 gradients64 = <Gradients64> PyCapsule_GetPointer(_double.loss_and_gradients_pointer, NULL)


cdef int predict_float32(
        const float *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
        const float *X, Py_ssize_t n, float *E) noexcept nogil:
    return predict32(parameters, d, h, m, X, n, E)


cdef int predict_float64(
        const double *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
        const double *X, Py_ssize_t n, double *E) noexcept nogil:
    return predict64(parameters, d, h, m, X, n, E)


cdef int loss_and_gradients_float32(
        const float *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
        const float *X, const float *Y, const float *sample_weight, Py_ssize_t n,
        double *loss, float *gradients) noexcept nogil:
    return gradients32(parameters, d, h, m, X, Y, sample_weight, n, loss, gradients)


cdef int loss_and_gradients_float64(
        const double *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
        const double *X, const double *Y, const double *sample_weight, Py_ssize_t n,
        double *loss, double *gradients) noexcept nogil:
    return gradients64(parameters, d, h, m, X, Y, sample_weight, n, loss, gradients)
