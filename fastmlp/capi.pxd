# For other Cython code: prediction, and the loss with its gradient, on C pointers and without the GIL.
#
#     from fastmlp.capi cimport predict_float32
#
# `parameters` is one flat array, as MLP.parameters: W1 (d+1, h), then W2 (h+1, m), each with its biases as
# the last row. All arrays are C-contiguous and aligned as C aligns their numbers. Nothing is checked: sizes
# must be at least 1, pointers good, weights >= 0 with a positive sum. Nothing is kept between calls, so any
# number of threads may call at a time; each call works on its caller's thread. The kernel build is that of
# the Python functions, and so are the bits.
#
# Promise: in all versions with the same first number, these functions keep their names, arguments and
# meaning. Cython compares the types with those that a module was compiled with when that is imported, and
# raises TypeError where they differ.

# Writes the predictions (n, m) for the rows of X (n, d) to E. Returns 0, or -1 where there is no memory;
# E then holds nothing.
cdef int predict_float32(
    const float *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
    const float *X, Py_ssize_t n, float *E) noexcept nogil
cdef int predict_float64(
    const double *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
    const double *X, Py_ssize_t n, double *E) noexcept nogil

# Writes the mean squared error of the predictions against Y (n, m) to loss and, unless gradients is NULL,
# its derivatives by the parameters there, in their order. sample_weight (n,) may be NULL: all ones. Returns
# 0, or -1 where there is no memory.
cdef int loss_and_gradients_float32(
    const float *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
    const float *X, const float *Y, const float *sample_weight, Py_ssize_t n,
    double *loss, float *gradients) noexcept nogil
cdef int loss_and_gradients_float64(
    const double *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m,
    const double *X, const double *Y, const double *sample_weight, Py_ssize_t n,
    double *loss, double *gradients) noexcept nogil
