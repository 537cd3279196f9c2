# The elementwise functions by their names, for tests and tools.

ctypedef void (*OfArray)(const real *x, Py_ssize_t n, real *out) noexcept nogil

cdef extern from "elementwise.h" nogil:
    const char **ELEMENTWISE_NAMES
    OfArray *ELEMENTWISE_FUNCTIONS
    int N_ELEMENTWISE

ELEMENTWISE = tuple([ELEMENTWISE_NAMES[i].decode() for i in range(N_ELEMENTWISE)])


def elementwise(name, cnp.ndarray x):
    """A function of ELEMENTWISE for an array of this module's dtype, as a new array."""
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef real *to = data_of(out, n)
    cdef const real *v = data_of(x, n)
    cdef OfArray function = ELEMENTWISE_FUNCTIONS[<int> ELEMENTWISE.index(name)]
    with nogil:
        function(v, n, to)
    return out
