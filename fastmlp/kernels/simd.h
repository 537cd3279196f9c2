/* The two types every kernel is written in, and the few operations C has no sign for.
 *
 * real: the element, float or double. setup.py defines FASTMLP_REAL.
 * vec:  LANES reals side by side. With GCC and clang this is a vector-extension type, as
 *       wide as the instruction set that the file is compiled for, on which + and * (also
 *       with a real on one side) compile to vector instructions. Elsewhere it is one real,
 *       and the same kernels are plain portable C.
 */
#include <stddef.h>
#include <stdint.h>
#include <math.h>

typedef FASTMLP_REAL real;

/* AddressSanitizer knows where an allocation ends, not where the arrays that are cut from one do: between them
 * it gets bytes that nobody may touch. */
#if defined(__has_feature) /* clang's */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define REDZONE 64
static inline void poison(char *from, ptrdiff_t bytes) { ASAN_POISON_MEMORY_REGION(from, bytes); }
#else
#define REDZONE 0
static inline void poison(char *from, ptrdiff_t bytes) { }
#endif

#define SQRT(x) (sizeof(real) == sizeof(float) ? sqrtf(x) : sqrt(x))

#if defined(__GNUC__)

/* Cython's `cdef inline` becomes a hint; the tiles in gemm.pxi must be inlined for their
 * constant sizes to turn their sums into registers (without: 50 GF/s instead of 110). */
#undef CYTHON_INLINE
#define CYTHON_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define VEC_BYTES 64
#define MR 8
#define FUSED_FEATURES 8
#define ROW_VECTORS 4
#define VECTOR_REGISTERS 32
#elif defined(__AVX__)
#define VEC_BYTES 32
#define MR 6
#define FUSED_FEATURES 4
#define ROW_VECTORS 2
#define VECTOR_REGISTERS 16
#else
#define VEC_BYTES 16
#define MR 6
#define FUSED_FEATURES 4
#define ROW_VECTORS 2
#define VECTOR_REGISTERS 16
#endif

#define BYTES_float 4
#define BYTES_double 8
#define BYTES_OF(type) BYTES_##type
#define BYTES(type) BYTES_OF(type)
#define LANES (VEC_BYTES / BYTES(FASTMLP_REAL))

/* The two operations that the vector extension has no sign for, on x86 by their own names. */
#if defined(__SSE2__)
#include <immintrin.h>
#define JOIN(width, operation, type) _mm##width##_##operation##_##type
#define OPERATION(width, operation, type) JOIN(width, operation, type)
#if defined(__AVX512F__)
#define WIDTH 512
#elif defined(__AVX__)
#define WIDTH 256
#else
#define WIDTH
#endif
#if LANES * 4 == VEC_BYTES
#define ON_VECTORS(operation) OPERATION(WIDTH, operation, ps)
#else
#define ON_VECTORS(operation) OPERATION(WIDTH, operation, pd)
#endif
#endif

typedef real vec __attribute__((vector_size(VEC_BYTES)));
typedef real loose_vec __attribute__((vector_size(VEC_BYTES), aligned(sizeof(real))));
typedef __typeof__((vec){0} < (vec){0}) mask; /* integers, all bits set where true */

static inline void prefetch(const real *p) { __builtin_prefetch(p); }
static inline vec broadcast(real x) { return x - (vec){0}; }
static inline vec load(const real *p) { return *(const loose_vec *)p; }
static inline void store(real *p, vec v) { *(loose_vec *)p = v; }

/* Lanes of a and b, by their numbers. GCC has clang's builtin since version 12, and asked for builtins since 10. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#if !defined(SHUFFLE)
#if LANES * 4 == VEC_BYTES /* not of type mask: GCC 11 calls that opaque, and does not initialize it */
typedef int32_t lane_numbers __attribute__((vector_size(VEC_BYTES)));
#else
typedef int64_t lane_numbers __attribute__((vector_size(VEC_BYTES)));
#endif
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (lane_numbers){__VA_ARGS__})
#endif

/* [a0+a1, a2+a3, .., b0+b1, b2+b3, ..] */
static inline vec pair_sums(vec a, vec b)
{
#if LANES == 16
    return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
         + SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif LANES == 8
    return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
         + SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#elif LANES == 4
    return SHUFFLE(a, b, 0, 2, 4, 6) + SHUFFLE(a, b, 1, 3, 5, 7);
#else
    return SHUFFLE(a, b, 0, 2) + SHUFFLE(a, b, 1, 3);
#endif
}

/* C = ReLU(B). A NaN stays a NaN: x86's maximum is its second operand where one is NaN. */
#if defined(__SSE2__)
static inline vec relu(vec b) { return ON_VECTORS(max)((vec){0}, b); }
static inline vec square_root(vec v) { return ON_VECTORS(sqrt)(v); }
#else
static inline vec relu(vec b) { return (vec)((mask)b & ~(b < 0)); }
static inline vec square_root(vec v)
{
    for (int i = 0; i < LANES; i++) v[i] = SQRT(v[i]);
    return v;
}
#endif

/* dB = dC where the unit is active. "Zero where C is zero" is 1[B > 0], and keeps NaN. */
static inline vec relu_backward(vec c, vec dc) { return (vec)((mask)dc & ~(c == 0)); }

/* v in its first n lanes, zero in the others (whatever they hold, NaN too). */
static inline vec mask_tail(vec v, ptrdiff_t n)
{
    mask keep;
    for (int i = 0; i < LANES; i++) keep[i] = -(i < n);
    return (vec)((mask)v & keep);
}

/* Selections; a comparison with NaN is false. By their own names on x86: of "(value & c) | (otherwise & ~c)" GCC
 * makes three instructions, and with AVX-512 brings the comparison out of its mask register first. */
static inline vec select_lanes(mask condition, vec value, vec otherwise)
{
    return (vec)(((mask)value & condition) | ((mask)otherwise & ~condition));
}
#if defined(__AVX512F__)
#define WHERE(a, relation, predicate, b, value, otherwise) \
    ON_VECTORS(mask_blend)(COMPARE(a, b, predicate), otherwise, value)
#if LANES * 4 == VEC_BYTES
#define COMPARE(a, b, predicate) _mm512_cmp_ps_mask(a, b, predicate)
#else
#define COMPARE(a, b, predicate) _mm512_cmp_pd_mask(a, b, predicate)
#endif
#elif defined(__AVX__)
#define WHERE(a, relation, predicate, b, value, otherwise) \
    ON_VECTORS(blendv)(otherwise, value, ON_VECTORS(cmp)(a, b, predicate))
#else
#define WHERE(a, relation, predicate, b, value, otherwise) select_lanes((a) relation (b), value, otherwise)
#endif
static inline vec where_less(vec a, vec b, vec value, vec otherwise)
{
    return WHERE(a, <, _CMP_LT_OQ, b, value, otherwise);
}
static inline vec where_positive(vec v, vec value, vec otherwise) { return where_less((vec){0}, v, value, otherwise); }
static inline vec where_zero(vec v, vec value, vec otherwise)
{
    return WHERE(v, ==, _CMP_EQ_OQ, (vec){0}, value, otherwise);
}
static inline vec magnitude(vec v) { return (vec)((mask)v & ~(mask)-(vec){0}); }

/* The lesser, and the greater, of a limit and v; NaN where v is NaN: as in relu. */
#if defined(__SSE2__)
static inline vec at_most(vec limit, vec v) { return ON_VECTORS(min)(limit, v); }
static inline vec at_least(vec limit, vec v) { return ON_VECTORS(max)(limit, v); }
#else
static inline vec at_most(vec limit, vec v) { return where_less(limit, v, limit, v); }
static inline vec at_least(vec limit, vec v) { return where_less(v, limit, limit, v); }
#endif

#else

#define MR 4
#define FUSED_FEATURES 4
#define ROW_VECTORS 2
#define VECTOR_REGISTERS 16
#define LANES 1
typedef real vec;

static inline void prefetch(const real *p) { }
static inline vec broadcast(real x) { return x; }
static inline vec load(const real *p) { return *p; }
static inline void store(real *p, vec v) { *p = v; }
static inline vec pair_sums(vec a, vec b) { return a; } /* with one lane nothing is left to add */
static inline vec relu(vec b) { return b < 0 ? 0 : b; }
static inline vec square_root(vec v) { return SQRT(v); }
static inline vec relu_backward(vec c, vec dc) { return c == 0 ? 0 : dc; }
static inline vec mask_tail(vec v, ptrdiff_t n) { return n > 0 ? v : 0; }
static inline vec where_positive(vec v, vec value, vec otherwise) { return v > 0 ? value : otherwise; }
static inline vec where_zero(vec v, vec value, vec otherwise) { return v == 0 ? value : otherwise; }
static inline vec where_less(vec a, vec b, vec value, vec otherwise) { return a < b ? value : otherwise; }
static inline vec magnitude(vec v) { return v > 0 ? v : -v; }

#endif

static inline void add_to_lanes(double *sums, vec v)
{
    real x[LANES];
    store(x, v);
    for (int i = 0; i < LANES; i++) sums[i] += x[i];
}

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define FUSED /* there are multiply-adds of one rounding */
#endif

/* s + a b, in one rounding where the machine has it so. Of numbers, for a row by itself: the compiler would turn a
 * chain of sums into a vector of products, added one after the other. Of vectors, where predictions must have
 * the same bits whatever rows they are computed with: GCC 12 left one sum in eight of a tile in two roundings. */
#if defined(FUSED)
static inline real add_product(real s, real a, real b)
{
    return sizeof(real) == sizeof(float) ? __builtin_fmaf(a, b, s) : __builtin_fma(a, b, s);
}
#else
static inline real add_product(real s, real a, real b) { return s + a * b; }
#endif
#if defined(__FMA__) && defined(ON_VECTORS)
static inline vec add_products(vec s, vec a, vec b) { return ON_VECTORS(fmadd)(a, b, s); }
#else
static inline vec add_products(vec s, vec a, vec b) { return s + a * b; }
#endif

/* Cython casts the left side of a / to a number. */
static inline vec quotient(vec a, vec b) { return a / b; }

/* A vector whose lane i is the sum of the lanes of v[i]; v[0..LANES-1] are overwritten. */
static inline vec transpose_sum(vec *v)
{
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) v[i] = pair_sums(v[2 * i], v[2 * i + 1]);
    return v[0];
}
