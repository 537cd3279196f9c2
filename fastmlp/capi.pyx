"""Functions for other Cython code; capi.pxd describes them. Python code finds nothing here."""

from cpython.pycapsule cimport PyCapsule_GetPointer

from fastmlp import MLP, kernels

ctypedef int (*Predict32)(
    const void *, const float *, const float *, Py_ssize_t, bint, float *) noexcept nogil
ctypedef int (*Predict64)(
    const void *, const double *, const double *, Py_ssize_t, bint, double *) noexcept nogil
ctypedef int (*Gradients32)(
    const void *, const float *, const float *, const float *, const float *, Py_ssize_t, double *,
    float *) noexcept nogil
ctypedef int (*Gradients64)(
    const void *, const double *, const double *, const double *, const double *, Py_ssize_t, double *,
    double *) noexcept nogil

_float32, _float64 = kernels.module("float32"), kernels.module("float64")
cdef Predict32 predict32 = <Predict32> PyCapsule_GetPointer(_float32.predict_pointer, "fastmlp.predict")
cdef Predict64 predict64 = <Predict64> PyCapsule_GetPointer(_float64.predict_pointer, "fastmlp.predict")
cdef Gradients32 gradients32 = <Gradients32> PyCapsule_GetPointer(
    _float32.loss_and_gradients_pointer, "fastmlp.loss_and_gradients")
cdef Gradients64 gradients64 = <Gradients64> PyCapsule_GetPointer(
    _float64.loss_and_gradients_pointer, "fastmlp.loss_and_gradients")


cdef const void *network_of(object mlp, Py_ssize_t target_columns) except NULL:
    if not isinstance(mlp, MLP):
        raise TypeError(f"mlp: must be a fastmlp.MLP, got {type(mlp).__name__}")
    return PyCapsule_GetPointer(mlp._network(target_columns).pointer, "fastmlp.network")


cdef int predict_float32(
        const void *network, const float *parameters, const float *X, Py_ssize_t n, bint with_link,
        float *out) noexcept nogil:
    return predict32(network, parameters, X, n, with_link, out)


cdef int predict_float64(
        const void *network, const double *parameters, const double *X, Py_ssize_t n, bint with_link,
        double *out) noexcept nogil:
    return predict64(network, parameters, X, n, with_link, out)


cdef int loss_and_gradients_float32(
        const void *network, const float *parameters, const float *X, const float *Y,
        const float *sample_weight, Py_ssize_t n, double *loss, float *gradients) noexcept nogil:
    return gradients32(network, parameters, X, Y, sample_weight, n, loss, gradients)


cdef int loss_and_gradients_float64(
        const void *network, const double *parameters, const double *X, const double *Y,
        const double *sample_weight, Py_ssize_t n, double *loss, double *gradients) noexcept nogil:
    return gradients64(network, parameters, X, Y, sample_weight, n, loss, gradients)
