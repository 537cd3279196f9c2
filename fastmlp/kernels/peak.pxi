# What the machine could do at best, for benchmarks.roofline: multiply-adds and nothing else.

cdef enum:
    SUMS = 14               # they fit 16 registers; latency times operations a cycle is 8, 12 where not fused


def multiply_adds(Py_ssize_t rounds):
    """Do `rounds` times SUMS multiply-adds of vectors in registers; return how many operations that was."""
    cdef vec s[SUMS]
    cdef vec a = broadcast(<real> 0.999)
    cdef vec b = broadcast(<real> 0.0005)  # with 0.001 a sum of 1 would stay 1, and be left out
    cdef Py_ssize_t r
    cdef real left[LANES]
    cdef int i
    with nogil:
        for i in range(SUMS):
            s[i] = broadcast(<real> i)
        for r in range(rounds):
            for i in range(SUMS):
                s[i] = s[i] * a + b
        for i in range(1, SUMS):
            s[0] = s[0] + s[i]
        store(left, s[0])
    # as the sums are looked at, no compiler leaves them out
    return rounds * SUMS * LANES * 2 if left[0] == left[0] else 0
