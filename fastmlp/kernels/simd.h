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
#include <tgmath.h>

typedef FASTMLP_REAL real;

static inline real square_root(real x) { return sqrt(x); }

#if defined(__GNUC__)

#if defined(__AVX512F__)
#define VEC_BYTES 64
#elif defined(__AVX__)
#define VEC_BYTES 32
#else
#define VEC_BYTES 16
#endif

typedef real vec __attribute__((vector_size(VEC_BYTES), may_alias));
typedef __typeof__((vec){0} < (vec){0}) mask; /* integers, all bits set where true */
enum { LANES = VEC_BYTES / sizeof(real) };

static inline vec broadcast(real x) { return x - (vec){0}; }

static inline real lane_sum(vec v)
{
    real s = 0;
    for (int i = 0; i < LANES; i++) s += v[i];
    return s;
}

/* C = ReLU(B). Written as "zero where negative", so that a NaN stays a NaN. */
static inline vec relu(vec b) { return (vec)((mask)b & ~(b < 0)); }

/* dB = dC where the unit is active. "Zero where C is zero" is 1[B > 0], and keeps NaN. */
static inline vec where_active(vec c, vec dc) { return (vec)((mask)dc & ~(c == 0)); }

/* v in its first n lanes, zero in the others (whatever they hold, NaN too). */
static inline vec first_lanes(vec v, ptrdiff_t n)
{
    mask keep;
    for (int i = 0; i < LANES; i++) keep[i] = -(i < n);
    return (vec)((mask)v & keep);
}

#else

typedef real vec;
enum { LANES = 1 };

static inline vec broadcast(real x) { return x; }
static inline real lane_sum(vec v) { return v; }
static inline vec relu(vec b) { return b < 0 ? 0 : b; }
static inline vec where_active(vec c, vec dc) { return c == 0 ? 0 : dc; }
static inline vec first_lanes(vec v, ptrdiff_t n) { return n > 0 ? v : 0; }

#endif
