# The one body of every kernel build. Each (instruction set, dtype) module includes this file;
# what differs between them, real and vec, comes from simd.h and the compiler flags in setup.py.
#
# Every def here is private: shapes, dtypes, contiguity and aliasing have been checked above
# (fastmlp/_checks.py), so nothing is checked again. Letters A..L are the nodes of reference.py.

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport INFINITY, isfinite, pow, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

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
    enum: TILE
    enum: FUSED
    enum: COLUMNS
    enum: REGISTERS
    enum: GAP
    void forbid(char *start, Py_ssize_t bytes)
    void prefetch(const real *p)
    vec broadcast(real x)
    vec load(const real *p)
    void store(real *p, vec v)
    vec relu(vec b)
    vec where_active(vec c, vec dc)
    vec first_lanes(vec v, Py_ssize_t n)
    vec lane_sums(vec *v)
    void add_lanes(double *sums, vec v)
    vec square_root(vec v)
    real add_product(real s, real a, real b)
    vec add_products(vec s, vec a, vec b)
    vec quotient(vec a, vec b)


cdef inline real *elements(cnp.ndarray array) noexcept:
    """The elements of a checked array; NULL for None."""
    return NULL if array is None else <real *> cnp.PyArray_DATA(array)


include "product.pxi"
include "hidden.pxi"
include "network.pxi"
include "wide.pxi"
include "narrow.pxi"
include "tiny.pxi"
include "threads.pxi"
include "passes.pxi"
include "optimizers.pxi"
include "training.pxi"
include "peak.pxi"
