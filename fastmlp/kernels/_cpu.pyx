# cython: language_level=3
"""Which kernel builds the CPU can run; compiled for the baseline."""

cdef extern from "cpu.h" nogil:
    bint cpu_has_avx2()
    bint cpu_has_avx512()


def features():
    """The kernel builds this CPU can run, slowest first, e.g. ``("baseline", "avx2")``."""
    return ("baseline",) + ("avx2",) * cpu_has_avx2() + ("avx512",) * cpu_has_avx512()
