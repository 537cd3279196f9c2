/* Which kernel builds this CPU (and its operating system) can run, and the caches of its cores.
 * Compiled for the baseline, so that asking is safe everywhere. The names of the
 * features are those of the x86-64-v3 and -v4 levels that setup.py compiles for;
 * __builtin_cpu_supports also checks that the system saves the wide registers. */
#include <stddef.h>
#if defined(_MSC_VER)
#include <intrin.h>
#elif defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#if (defined(__x86_64__) || defined(_M_X64)) && defined(__GNUC__)
static inline int cpu_has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

static inline int cpu_has_avx512(void)
{
    return cpu_has_avx2()
        && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl");
}
#else
static inline int cpu_has_avx2(void) { return 0; }
static inline int cpu_has_avx512(void) { return 0; }
#endif

/* CPUID, whose answers are the registers eax, ebx, ecx, edx; zeros where there is none. */
static inline void cpuid(unsigned leaf, unsigned part, unsigned answer[4])
{
    answer[0] = answer[1] = answer[2] = answer[3] = 0;
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
    __cpuidex((int *)answer, (int)leaf, (int)part);
#elif defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    __cpuid_count(leaf, part, answer[0], answer[1], answer[2], answer[3]);
#endif
}

/* The bytes of the data (or unified) cache of a level, 0 where the CPU does not say, and on hybrid CPUs, whose cores
 * differ: results must not depend on the core that was asked. Intel states its caches one by one in leaf 4, AMD in the
 * same form in leaf 0x8000001D (Intel SDM 2A, CPUID; AMD APM 3, appendix E). */
static inline Py_ssize_t cpu_cache(unsigned level)
{
    static const unsigned leaves[] = {0x4, 0x8000001d};
    unsigned a[4], part;
    int i;
    cpuid(0, 0, a);
    if (a[0] >= 7) {
        cpuid(7, 0, a);
        if (a[3] >> 15 & 1) /* hybrid */
            return 0;
    }
    for (i = 0; i < 2; i++) {
        cpuid(leaves[i] & 0x80000000, 0, a);
        if (a[0] < leaves[i])
            continue;
        for (part = 0; part < 16; part++) {
            cpuid(leaves[i], part, a);
            if ((a[0] & 31) == 0)
                break;
            if ((a[0] & 31) != 2 && (a[0] >> 5 & 7) == level) /* 2: of instructions */
                return (Py_ssize_t)(1 + (a[1] >> 22)) * (1 + (a[1] >> 12 & 1023)) * (1 + (a[1] & 4095)) * (1 + a[2]);
        }
    }
    return 0;
}
