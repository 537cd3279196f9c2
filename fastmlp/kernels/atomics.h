/* What threads need that neither Cython nor C99 has: a number that several of them change, and a pause while one
 * waits (which leaves the core to the other thread that may run on it). */
#if defined(_MSC_VER)
#include <intrin.h>
static inline Py_ssize_t fetch_add(Py_ssize_t *n, Py_ssize_t more)
{
#if defined(_WIN64)
    return _InterlockedExchangeAdd64((volatile __int64 *)n, more);
#else
    return _InterlockedExchangeAdd((volatile long *)n, more);
#endif
}
#else
static inline Py_ssize_t fetch_add(Py_ssize_t *n, Py_ssize_t more)
{
    return __atomic_fetch_add(n, more, __ATOMIC_SEQ_CST);
}
#endif

static inline void spin(void)
{
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    __builtin_ia32_pause();
#endif
}
