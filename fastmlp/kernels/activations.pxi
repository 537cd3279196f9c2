# The activations: a branch for each row of the table in fastmlp/activations.py.
#
# `activate` makes a of z in place; `replace_by_slopes` makes da/dz of a in place. Where the derivative needs
# z itself (silu, gelu and mish are not monotonic, so a does not say which z it came from), `activate` also
# stores the derivative. They are passes over a block in cache: ReLU alone is part of the product (gemm.pxi),
# as it costs one instruction; the others there would multiply every tile by their number.

cdef extern from "elementwise.h" nogil:
    vec vec_exp(vec x)
    vec vec_log(vec x)
    vec vec_log1p(vec x)
    vec vec_expm1(vec x)
    vec vec_tanh(vec x)
    vec vec_logistic(vec x)
    vec vec_softplus(vec x)
    vec vec_elu(vec x)
    vec vec_selu(vec x)
    vec vec_leaky_relu(vec x)
    vec vec_silu(vec x)
    vec vec_gelu(vec x)
    vec vec_mish(vec x)
    vec vec_silu_slope(vec x, vec *slope)
    vec vec_gelu_slope(vec x, vec *slope)
    vec vec_mish_slope(vec x, vec *slope)
    double SELU_SCALE
    double SELU_ALPHA
    double LEAK

cdef enum Activation:
    IDENTITY
    RELU
    LEAKY_RELU
    ELU
    SELU
    TANH
    LOGISTIC
    SOFTPLUS
    SILU
    GELU
    MISH

cdef enum:
    LAST_CHEAP = LEAKY_RELU     # a selection; what follows costs some 20 operations

ACTIVATIONS = (  # in the order of the enum
    "identity", "relu", "leaky_relu", "elu", "selu", "tanh", "logistic", "softplus", "silu", "gelu", "mish",
)

cdef inline bint slope_needs_input(int kind) noexcept nogil:
    return kind == SILU or kind == GELU or kind == MISH


cdef void activate(int kind, real *z, real *slopes, Py_ssize_t count) noexcept nogil:
    """a = f(z) for whole vectors, in place; f'(z) into `slopes`, where that is not NULL."""
    cdef Py_ssize_t i
    cdef vec slope
    if kind == IDENTITY:
        return
    if kind == RELU:
        for i from 0 <= i < count by LANES:
            store(z + i, relu(load(z + i)))
    elif kind == LEAKY_RELU:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_leaky_relu(load(z + i)))
    elif kind == ELU:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_elu(load(z + i)))
    elif kind == SELU:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_selu(load(z + i)))
    elif kind == TANH:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_tanh(load(z + i)))
    elif kind == LOGISTIC:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_logistic(load(z + i)))
    elif kind == SOFTPLUS:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_softplus(load(z + i)))
    elif slopes == NULL:
        if kind == SILU:
            for i from 0 <= i < count by LANES:
                store(z + i, vec_silu(load(z + i)))
        elif kind == GELU:
            for i from 0 <= i < count by LANES:
                store(z + i, vec_gelu(load(z + i)))
        elif kind == MISH:
            for i from 0 <= i < count by LANES:
                store(z + i, vec_mish(load(z + i)))
    elif kind == SILU:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_silu_slope(load(z + i), &slope))
            store(slopes + i, slope)
    elif kind == GELU:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_gelu_slope(load(z + i), &slope))
            store(slopes + i, slope)
    elif kind == MISH:
        for i from 0 <= i < count by LANES:
            store(z + i, vec_mish_slope(load(z + i), &slope))
            store(slopes + i, slope)


cdef void replace_by_slopes(int kind, real *a, Py_ssize_t count) noexcept nogil:
    """f'(z) in place of a = f(z), for whole vectors."""
    cdef vec one = broadcast(1)
    cdef vec v
    cdef Py_ssize_t i
    if kind == IDENTITY:
        for i from 0 <= i < count by LANES:
            store(a + i, one)
    elif kind == RELU:
        for i from 0 <= i < count by LANES:
            store(a + i, where_positive(load(a + i), one, load(a + i)))  # 0, or NaN
    elif kind == LEAKY_RELU:
        for i from 0 <= i < count by LANES:
            v = load(a + i)
            store(a + i, where_positive(v, one, broadcast(<real> LEAK) + (v - v)))  # v - v: NaN stays NaN
    elif kind == ELU:
        for i from 0 <= i < count by LANES:
            v = load(a + i)
            store(a + i, where_positive(v, one, v + one))
    elif kind == SELU:
        for i from 0 <= i < count by LANES:
            v = load(a + i)
            store(a + i, where_positive(v, broadcast(<real> SELU_SCALE),
                                        v + <real> (SELU_SCALE * SELU_ALPHA)))
    elif kind == TANH:
        for i from 0 <= i < count by LANES:
            v = load(a + i)
            store(a + i, one - v * v)
    elif kind == LOGISTIC:
        for i from 0 <= i < count by LANES:
            v = load(a + i)
            store(a + i, v * (one - v))
    elif kind == SOFTPLUS:
        for i from 0 <= i < count by LANES:
            store(a + i, -vec_expm1(-load(a + i)))
