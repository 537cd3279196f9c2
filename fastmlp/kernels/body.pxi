# The one body of every kernel build. Each (instruction set, dtype) module includes this file; what differs
# between them, real and vec, comes from simd.h and the compiler flags in setup.py. README.md here is the map.
#
# Every def here is private: shapes, dtypes, contiguity and aliasing have been checked above
# (fastmlp/_checks.py), so only what a wrong pointer could come from is checked again.

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport INFINITY, ceil, cos, isfinite, log2, pow, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy, memset

from time import perf_counter

cnp.import_array()

cdef extern from "numpy/random/bitgen.h":
    # not `from numpy.random cimport bitgen_t`: that imports numpy.random along with this module, 9 ms
    ctypedef struct bitgen_t:
        void *state
        uint32_t (*next_uint32)(void *state) noexcept nogil

cdef extern from "simd.h" nogil:
    ctypedef float real    # float or double
    ctypedef float vec     # LANES reals; Cython sees a number, C adds and multiplies vectors
    enum: LANES
    enum: MR
    enum: FUSED_FEATURES
    enum: ROW_VECTORS
    enum: VECTOR_REGISTERS
    enum: REDZONE
    void poison(char *start, Py_ssize_t bytes)
    void prefetch(const real *p)
    vec broadcast(real x)
    vec load(const real *p)
    void store(real *p, vec v)
    vec relu(vec b)
    vec relu_backward(vec c, vec dc)
    vec mask_tail(vec v, Py_ssize_t n)
    vec transpose_sum(vec *v)
    void add_to_lanes(double *sums, vec v)
    vec square_root(vec v)
    real add_product(real s, real a, real b)
    vec add_products(vec s, vec a, vec b)
    vec quotient(vec a, vec b)
    vec where_positive(vec condition, vec value, vec otherwise)
    vec where_zero(vec condition, vec value, vec otherwise)
    vec where_less(vec a, vec b, vec value, vec otherwise)
    vec magnitude(vec x)


cdef real *data_of(cnp.ndarray array, Py_ssize_t count) except? NULL:
    """The numbers of an array of `count` numbers; NULL for None.

    Arguments have been checked above, but what a user does to an array in the meantime (another size, another
    dtype) must not lead the kernels out of it.
    """
    if array is None:
        return NULL
    if cnp.PyArray_SIZE(array) != count or not is_ours(array):
        raise ValueError(
            f"an array of {array.dtype} {(<object> array).shape} has come in place of one of {count} "
            f"contiguous numbers of {8 * sizeof(real)} bits; do not resize or retype arrays that are in use"
        )
    return <real *> cnp.PyArray_DATA(array)


cdef inline bint is_ours(cnp.ndarray array) noexcept:
    """Whether an array is contiguous, aligned and of this module's dtype."""
    return cnp.PyArray_ISCARRAY_RO(array) and cnp.PyArray_TYPE(array) == (
        cnp.NPY_FLOAT if sizeof(real) == sizeof(float) else cnp.NPY_DOUBLE)


cdef struct Network
cdef struct Weights
cdef struct Block
cdef struct Partial

cdef struct FastPath:       # what a specialisation replaces (fast_paths.pxi); NULL and 0: nothing
    Py_ssize_t block_rows   # rows in a block, at most
    void (*forward)(const Network *, const Weights *, Block *) noexcept nogil
    void (*backward)(const Network *, const real *, Block *, Partial *) noexcept nogil
    void (*gradient)(const Network *, const real *, const Block *, double, Partial *) noexcept nogil
    void (*finish)(const Network *, const real *, Partial *) noexcept nogil  # after all blocks of a chunk
    void (*row)(const Network *, const real *, const real *, real *, real *) noexcept nogil
    Py_ssize_t (*unpacked_rows)(const Network *) noexcept nogil     # for which weights are read as they are

include "gemm.pxi"
include "activations.pxi"
include "objectives.pxi"
include "network.pxi"
include "dataset.pxi"
include "reduce.pxi"
include "layers_rows.pxi"
include "layers_units.pxi"
include "chain.pxi"
include "fast_tiny.pxi"
include "fast_single_output.pxi"
include "fast_two_layers.pxi"
include "fast_rows.pxi"
include "fast_paths.pxi"
include "threads.pxi"
include "workspace.pxi"
include "optimizers.pxi"
include "entry.pxi"
include "folding.pxi"
include "fit.pxi"
include "elementwise.pxi"
include "peak.pxi"
