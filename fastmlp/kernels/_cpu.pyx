# cython: language_level=3
"""Which kernel builds the CPU can run, and the caches of its cores; compiled for the baseline."""

cdef extern from "cpu.h" nogil:
    bint cpu_has_avx2()
    bint cpu_has_avx512()
    Py_ssize_t cpu_cache(unsigned level)


def features():
    """The kernel builds this CPU can run, slowest first, e.g. ``("baseline", "avx2")``."""
    return ("baseline",) + ("avx2",) * cpu_has_avx2() + ("avx512",) * cpu_has_avx512()


def caches():
    """Bytes of a core's first and second level, e.g. ``(32768, 1048576)``; 0 where the CPU does not say."""
    return cpu_cache(1), cpu_cache(2)
