# For other Cython code: prediction, and the loss with its gradient, on C pointers and without the GIL.
#
#     from fastmlp.capi cimport network_of, predict_float32
#
# `network_of` gives a pointer that says what network it is: sizes, activations, objective. It is had once,
# with the GIL, and is good as long as the MLP is. `parameters` is one flat array, as MLP.parameters: W_1 (s_0
# + 1, s_1), then W_2, …, each with its biases as the last row; those of the MLP, or any others. The
# functions' dtype must be the MLP's. All arrays are C-contiguous and aligned as C aligns their numbers.
# Nothing is checked: sizes must be at least 1, pointers good, targets as the objective takes them, weights >=
# 0 with a positive sum. Nothing is kept between calls, so any number of threads may call at a time; each call
# works on its caller's thread. The kernels are those of the Python functions, and so are the bits.
#
# Promise, from version 1.0 on: in all versions with the same first number, these functions keep their names,
# arguments and meaning. Cython compares the types with those that a module was compiled with when that is
# imported, and raises TypeError where they differ.

# The network of a fastmlp.MLP, for targets with so many columns: 1, or for several targets a row its outputs.
cdef const void *network_of(object mlp, Py_ssize_t target_columns) except NULL

# Writes the predictions (n, m) for the rows of X (n, d) to out: raw outputs, or with_link those that
# MLP.predict gives. Returns 0, or -1 where there is no memory; out then holds nothing.
cdef int predict_float32(
    const void *network, const float *parameters, const float *X, Py_ssize_t n, bint with_link,
    float *out) noexcept nogil
cdef int predict_float64(
    const void *network, const double *parameters, const double *X, Py_ssize_t n, bint with_link,
    double *out) noexcept nogil

# Writes the loss of the predictions against Y (n, target_columns) to loss and, unless gradients is NULL, its
# derivatives by the parameters there, in their order. sample_weight (n,) may be NULL: all ones. Returns 0, or
# -1 where there is no memory.
cdef int loss_and_gradients_float32(
    const void *network, const float *parameters, const float *X, const float *Y,
    const float *sample_weight, Py_ssize_t n, double *loss, float *gradients) noexcept nogil
cdef int loss_and_gradients_float64(
    const void *network, const double *parameters, const double *X, const double *Y,
    const double *sample_weight, Py_ssize_t n, double *loss, double *gradients) noexcept nogil
