# The elementwise functions by their names, for tests and tools.

cdef extern from "elementwise.h" nogil:
    vec vec_erf(vec x)

ELEMENTWISE = (
    "exp", "expm1", "log", "log1p", "tanh", "logistic", "erf", "softplus", "elu", "selu", "leaky_relu",
    "silu", "gelu", "mish", "silu_slope", "gelu_slope", "mish_slope",
)


cdef inline vec elementwise_of(int which, vec x) noexcept nogil:
    cdef vec slope = x
    if which == 0:
        return vec_exp(x)
    if which == 1:
        return vec_expm1(x)
    if which == 2:
        return vec_log(x)
    if which == 3:
        return vec_log1p(x)
    if which == 4:
        return vec_tanh(x)
    if which == 5:
        return vec_logistic(x)
    if which == 6:
        return vec_erf(x)
    if which == 7:
        return vec_softplus(x)
    if which == 8:
        return vec_elu(x)
    if which == 9:
        return vec_selu(x)
    if which == 10:
        return vec_leaky_relu(x)
    if which == 11:
        return vec_silu(x)
    if which == 12:
        return vec_gelu(x)
    if which == 13:
        return vec_mish(x)
    if which == 14:
        vec_silu_slope(x, &slope)
    elif which == 15:
        vec_gelu_slope(x, &slope)
    else:
        vec_mish_slope(x, &slope)
    return slope


def elementwise(name, cnp.ndarray x):
    """A function of ELEMENTWISE for an array of this module's dtype, as a new array."""
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x), whole = n - n % LANES, i, left = n % LANES
    cdef real *to = data_of(out, n)
    cdef const real *v = data_of(x, n)
    cdef int which = ELEMENTWISE.index(name)
    cdef real tail[LANES]
    with nogil:
        for i from 0 <= i < whole by LANES:
            store(to + i, elementwise_of(which, load(v + i)))
        if left:
            store(tail, broadcast(1))
            memcpy(tail, v + whole, left * sizeof(real))
            store(tail, elementwise_of(which, load(tail)))
            memcpy(to + whole, tail, left * sizeof(real))
    return out
