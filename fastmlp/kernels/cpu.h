/* Which kernel builds this CPU (and its operating system) can run.
 * Compiled for the baseline, so that asking is safe everywhere. The names of the
 * features are those of the x86-64-v3 and -v4 levels that setup.py compiles for;
 * __builtin_cpu_supports also checks that the system saves the wide registers. */
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
