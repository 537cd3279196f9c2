/* Elementwise functions on vectors: exp, log, tanh, logistic, erf and what is made of them.
 *
 * Range reduction and polynomials, without tables and without branches: every lane computes the same, and
 * selections choose. `python -m tools.elementwise_error` measures the errors over all 2^32 float inputs.
 *
 * Without GCC's or clang's vectors (MSVC) they are the C library's functions.
 */

#define SELU_SCALE 1.0507009873554805
#define SELU_ALPHA 1.6732632423543772
#define LEAK 0.01

#if defined(__GNUC__)

#if LANES * 4 == VEC_BYTES
#define SINGLE 1
typedef int32_t lane_int;
#define MANTISSA 23
#define BIAS 127
#define ROUNDER 12582912.0f             /* 1.5 * 2^23: added, it rounds to an integer in the low bits */
#define LN2_HIGH 0.693359375f           /* 10 bits: its multiples by exponents are exact (Cody and Waite, 1980) */
#define LN2_LOW -2.1219444005469058e-4f
#define EXP_LOWEST -110.0f              /* results below are 0, */
#define EXP_HIGHEST 89.0f               /* above infinity */
#define EXPM1_LOWEST -20.0f             /* below it is -1 */
#define EXP_TERMS 6                     /* of Taylor's series, error 5e-9 where |r| <= ln(2) / 2 */
#define LOG_TERMS 5                     /* error 2e-9 */
#define ERF_TERMS 12                    /* error 1e-10 where |x| <= 1 */
#define SUBNORMAL_SHIFT 24
#else
#define SINGLE 0
typedef int64_t lane_int;
#define MANTISSA 52
#define BIAS 1023
#define ROUNDER 6755399441055744.0
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#define EXP_LOWEST -760.0
#define EXP_HIGHEST 710.0
#define EXPM1_LOWEST -40.0
#define EXP_TERMS 12                    /* error 5e-18 */
#define LOG_TERMS 10
#define ERF_TERMS 19
#define SUBNORMAL_SHIFT 54
#endif

typedef lane_int ints __attribute__((vector_size(VEC_BYTES)));

static inline ints bits_of(vec v) { return (ints)v; }
static inline vec from_bits(ints i) { return (vec)i; }

/* c[0] + c[1] x + … + c[n-1] x^(n-1), unrolled where n is a constant. */
static inline vec polynomial(vec x, const real *c, int n)
{
    vec p = broadcast(c[n - 1]);
#pragma GCC unroll 32
    for (int i = n - 2; i >= 0; i--) p = add_products(broadcast(c[i]), p, x);
    return p;
}

/* ((e^r - 1) / r - 1) / r: Taylor's series, of which EXP_TERMS are used. */
static const real EXP_SERIES[12] = {
    1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120,
    1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
    1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
/* (log((1 + s) / (1 - s)) - 2 s) / s^3 as a series in s^2. */
static const real LOG_SERIES[10] = {
    2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11,
    2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
/* erf(x) / x - 1 as a series in x^2: by itself smaller than 1, its rounding counts less. */
static const real ERF_SERIES[19] = {
    0.128379167095512574, -0.376126389031837525, 0.112837916709551257, -0.0268661706451312518,
    0.00522397762544218784, -0.000854832702345085283, 0.000120553329817896643, -0.000014925650358406251,
    1.64621143658892474e-6, -1.63658446912349243e-7, 1.48071928158792172e-8, -1.22905553017179274e-9,
    9.42275906465041097e-11, -6.71136685516411038e-12, 4.46322426328647734e-13, -2.78351620721092135e-14,
    1.63426140953671519e-15, -9.06397084280867248e-17, 4.76334804051506812e-18};
/* (tanh(x) / x - 1) / x^2 as a polynomial in x^2, |x| <= 5/8, by Chebyshev's expansion; and
 * (1 + 3/2 s) e^(s^2 / 2) erfc(s / sqrt(2)) as one in u = (s - 21/4) / (s + 21/4), over all s >= 0 (the form of
 * Shepherd and Laframboise, Math. Comp. 36, 1981). */
#if SINGLE
#define TANH_TERMS 6
static const real TANH[6] = { /* error 7e-10 */
    -0.333333331560308866, 0.133333009666536015, -0.0539586242219203153, 0.0217636337075132234,
    -0.0083264023251604049, 0.00227270492527150607};
#define TAIL_TERMS 13
static const real TAIL[13] = { /* error 3e-9 */
    1.30441609695017095, -0.132050923944469133, -0.0120644310711035713, 0.0995489355980006806,
    -0.122688035107496375, 0.10065268045296769, -0.0622166035898712873, 0.029129322406099285,
    -0.00948785538875776642, 0.00135039401497575285, 0.000444210446880945471, -0.000216992959224193615,
    0.0000100389925517094785};
#else
#define TANH_TERMS 12
static const real TANH[12] = { /* error 2e-18 */
    -0.333333333333333328, 0.133333333333329735, -0.0539682539678216769, 0.0218694885157846477,
    -0.00886323503291750207, 0.00359212086098987124, -0.00145576842000949066, 0.000589625530091059719,
    -0.000237477686338023164, 0.0000923463091431063, -0.0000309488902965279988, 6.36330952026345198e-6};
#define TAIL_TERMS 25
static const real TAIL[25] = { /* error 1e-18 */
    1.30441609763529849, -0.132050855811360549, -0.0120644991035726111, 0.099547013926363842,
    -0.122686927192951737, 0.100668211661794073, -0.0622234185478262339, 0.029075249361139821,
    -0.00946763933200761187, 0.00144284746022678847, 0.000412642650223884916, -0.000294796253519317822,
    0.0000360126818526668108, 0.0000276570340899061587, -0.0000103592702836284525, -2.01707688237899423e-6,
    1.74855870782096411e-6, 1.1404518012587799e-7, -2.74701531524412737e-7, -3.74799147334566935e-9,
    4.25052713469619154e-8, 1.23950064289549349e-11, -5.75371888261605312e-9, -9.2868283868278957e-12,
    4.72687040104696865e-10};
#endif

static inline vec clamp(vec x, real low, real high)
{
    x = where_less(x, broadcast(low), broadcast(low), x); /* NaN stays */
    return where_less(broadcast(high), x, broadcast(high), x);
}

/* 2^n for integers n as ROUNDER leaves them in the low bits of a number. */
static inline vec power_of_2(ints n) { return from_bits((n + BIAS) << MANTISSA); }

/* x = n ln 2 + r, |r| <= ln(2) / 2: r, and n. */
static inline vec reduce(vec x, ints *n)
{
    vec shifted = x * (real)1.4426950408889634 + (real)ROUNDER;
    vec whole = shifted - (real)ROUNDER;
    *n = bits_of(shifted) - bits_of(broadcast((real)ROUNDER));
    return add_products(add_products(x, whole, broadcast(-(real)LN2_HIGH)), whole, broadcast(-(real)LN2_LOW));
}

/* e^r - 1 for |r| <= ln(2) / 2. */
static inline vec expm1_reduced(vec r) { return add_products(r, r * r, polynomial(r, EXP_SERIES, EXP_TERMS)); }

/* e^x as a product of two factors: the result may be subnormal, and is then rounded once, at the end. */
static inline vec exp_factors(vec x, vec *second)
{
    ints n;
    vec r = reduce(clamp(x, (real)EXP_LOWEST, (real)EXP_HIGHEST), &n);
    ints half = n >> 1;
    *second = power_of_2(n - half);
    return (expm1_reduced(r) + 1) * power_of_2(half);
}

static inline vec vec_exp(vec x)
{
    vec second, first = exp_factors(x, &second);
    return first * second;
}

static inline vec vec_expm1(vec x)
{
    ints n;
    vec r = reduce(clamp(x, (real)EXPM1_LOWEST, (real)EXP_HIGHEST), &n);
    ints half = n >> 1;
    ints large = n > 64, limited = (large & 64) | (~large & n); /* there 2^-n is lost beside 1 */
    vec e = expm1_reduced(r) + (1 - power_of_2(-limited)); /* times 2^n */
    e = e * power_of_2(half) * power_of_2(n - half);
    return where_zero(x, x, e); /* -0 */
}

/* log(x) + low, for positive x, and a small number low. */
static inline vec log_and(vec x, vec low)
{
    ints tiny = bits_of(x) < ((ints){0} + ((lane_int)1 << MANTISSA));
    vec scaled = select_lanes((mask)tiny, x * (real)((int64_t)1 << SUBNORMAL_SHIFT), x);
    ints from = (ints){0} + bits_of(broadcast((real)0.70710678118654752))[0];
    ints n = (bits_of(scaled) - from) >> MANTISSA;
    vec f = from_bits(bits_of(scaled) - (n << MANTISSA)) - 1; /* sqrt(1/2) - 1 … sqrt(2) - 1 */
    vec k, s = f / (f + 2), z = s * s, half_square = (real)0.5 * f * f, t;
    for (int i = 0; i < LANES; i++) k[i] = (real)n[i];
    k = select_lanes((mask)tiny, k - SUBNORMAL_SHIFT, k);
    t = s * (half_square + z * polynomial(z, LOG_SERIES, LOG_TERMS));
    return k * (real)LN2_HIGH - ((half_square - (t + (k * (real)LN2_LOW + low))) - f);
}

static inline vec log_at_borders(vec x, vec result)
{
    vec nothing = broadcast((real)NAN), infinite = broadcast((real)INFINITY);
    result = where_less(x, infinite, result, x); /* infinity, and NaN */
    result = where_less(x, (vec){0}, nothing, result);
    return where_zero(x, -infinite, result);
}

static inline vec vec_log(vec x) { return log_at_borders(x, log_and(x, (vec){0})); }

static inline vec vec_log1p(vec x)
{
    vec u = 1 + x, lost = (x - (u - 1)) / u;
    vec result = log_at_borders(u, log_and(u, select_lanes(u < (real)INFINITY, lost, (vec){0})));
    return where_zero(u - 1, x, result); /* x itself, where 1 + x is 1 */
}

static inline vec vec_tanh(vec x)
{
    vec size = clamp(magnitude(x), 0, SINGLE ? 10 : 20), e = vec_expm1(2 * size), square = x * x;
    vec far = e / (e + 2);
    far = where_less(x, (vec){0}, -far, far);
    return where_less(size, broadcast((real)0.625), add_products(x, x * square, polynomial(square, TANH, TANH_TERMS)),
                      far);
}

/* 1 / (1 + e^-x) as two factors, and e^-|x|. What the sum 1 + e loses is put back: 1.6 units, else 2.2. */
static inline vec logistic_factors(vec x, vec *second, vec *e)
{
    vec after, first = exp_factors(-magnitude(x), &after), sum, s, lost;
    *e = first * after;
    sum = 1 + *e;
    s = where_positive(x, broadcast(1), first) / sum;
    *second = where_positive(x, broadcast(1), after);
    lost = *e - (sum - 1);
    return s - s * (lost * where_positive(x, s, 1 - s * after));
}

static inline vec vec_logistic(vec x)
{
    vec second, e, first = logistic_factors(x, &second, &e);
    return first * second;
}

static inline vec vec_softplus(vec x) { return where_positive(x, x, (vec){0}) + vec_log1p(vec_exp(-magnitude(x))); }

static inline vec vec_leaky_relu(vec x) { return where_positive(x, x, (real)LEAK * x); }
static inline vec vec_elu(vec x) { return where_positive(x, x, vec_expm1(x)); }
static inline vec vec_selu(vec x)
{
    return where_positive(x, (real)SELU_SCALE * x, (real)(SELU_SCALE * SELU_ALPHA) * vec_expm1(x));
}

/* x so limited that its product with what exp_factors gives at the lowest is 0; NaN stays. */
static inline vec within_range(vec x) { return clamp(x, SINGLE ? -200 : -800, SINGLE ? 200 : 800); }

static inline vec vec_silu(vec x)
{
    vec second, e, first = logistic_factors(x, &second, &e);
    return where_positive(x, x, within_range(x)) * first * second;
}

static inline vec vec_silu_slope(vec x, vec *slope)
{
    vec second, e, first = logistic_factors(x, &second, &e), s = first * second;
    *slope = s + s * (where_positive(x, e, broadcast(1)) / (1 + e)) * within_range(x);
    return where_positive(x, x, within_range(x)) * first * second;
}

/* tanh(softplus(x)) as two factors: with e = e^x it is e (1 - e (1 + e) / (2 + e (2 + e))); or, where x > 0,
 * with e = e^-x, 1 - 2 e^2 / (1 + 2 e (1 + e)). What is taken off counts little: 2.5 units, else 3.9. */
static inline vec mish_factors(vec x, vec *second)
{
    vec after, first = exp_factors(-magnitude(x), &after), e = first * after, one = broadcast(1);
    vec off = where_positive(x, 2 * e * e, e * (1 + e)) / where_positive(x, 1 + 2 * e * (1 + e), 2 + e * (2 + e));
    vec whole = where_positive(x, one, first);
    *second = where_positive(x, one, after);
    return whole - whole * off;
}

static inline vec vec_mish(vec x)
{
    vec second, first = mish_factors(x, &second);
    return where_positive(x, x, within_range(x)) * first * second;
}

static inline vec vec_mish_slope(vec x, vec *slope)
{
    vec second, first = mish_factors(x, &second), t = first * second;
    *slope = t + within_range(x) * vec_logistic(x) * (1 - t) * (1 + t);
    return where_positive(x, x, within_range(x)) * first * second;
}

/* The rounding error of a square: x^2 = square + this. */
static inline vec square_error(vec x, vec square)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return add_products(-square, x, x);
#else
    vec high = from_bits(bits_of(x) & ~(((lane_int)1 << (MANTISSA / 2 + 1)) - 1)), low = x - high;
    return ((high * high - square) + 2 * high * low) + low * low;
#endif
}

/* erfc(|x| / sqrt(2)) / 2, the tail of the normal distribution, is numerator / denominator * second; and
 * e^(-x^2 / 2) is density * second. What the square loses goes into the reduced argument of e. */
static inline vec normal_tail(vec x, vec *denominator, vec *density, vec *second)
{
    ints n, half;
    vec s = clamp(magnitude(x), 0, SINGLE ? (real)20 : (real)50), square = s * s, lost = square_error(s, square);
    vec r = reduce(clamp((real)-0.5 * square, (real)EXP_LOWEST, 0), &n) - (real)0.5 * lost;
    vec e = expm1_reduced(r), p = polynomial((s - (real)5.25) / (s + (real)5.25), TAIL, TAIL_TERMS);
    half = n >> 1;
    *second = power_of_2(n - half);
    *density = (e + 1) * power_of_2(half);
    *denominator = 2 + 3 * s;
    return add_products(p, p, e) * power_of_2(half); /* p (1 + e) in one rounding */
}

/* erf(x) for |x| <= 1. */
static inline vec erf_near(vec x) { return add_products(x, x, polynomial(x * x, ERF_SERIES, ERF_TERMS)); }

static inline vec vec_erf(vec x)
{
    vec denominator, density, second;
    vec numerator = normal_tail(x * (real)1.4142135623730950, &denominator, &density, &second);
    vec far = 1 - 2 * (numerator / denominator * second);
    far = where_less(x, (vec){0}, -far, far);
    return where_less(magnitude(x), broadcast(1), erf_near(x), far);
}

static inline vec vec_gelu_slope(vec x, vec *slope)
{
    vec denominator, density, second, half = broadcast((real)0.5), one = broadcast(1);
    vec numerator = normal_tail(x, &denominator, &density, &second), tail, bounded = within_range(x);
    vec near = half + half * erf_near(x * (real)0.70710678118654752);
    tail = numerator / denominator * second;
    tail = where_positive(x, one - tail, tail); /* the distribution function */
    tail = where_less(magnitude(x), one, near, tail);
    *slope = tail + bounded * ((real)0.39894228040143268 * (density * second));
    /* for x < -1 in fewer roundings than x times that */
    return where_less(x, -one, bounded / denominator * numerator * second, x * tail);
}

static inline vec vec_gelu(vec x)
{
    vec slope;
    return vec_gelu_slope(x, &slope);
}

#else

static inline vec vec_exp(vec x) { return (vec)exp(x); }
static inline vec vec_expm1(vec x) { return (vec)expm1(x); }
static inline vec vec_log(vec x) { return (vec)log(x); }
static inline vec vec_log1p(vec x) { return (vec)log1p(x); }
static inline vec vec_tanh(vec x) { return (vec)tanh(x); }
static inline vec vec_erf(vec x) { return (vec)erf(x); }
static inline vec vec_logistic(vec x) { double e = exp(-fabs(x)); return (vec)((x > 0 ? 1 : e) / (1 + e)); }
static inline vec vec_softplus(vec x) { return (vec)((x > 0 ? x : 0) + log1p(exp(-fabs(x)))); }
static inline vec vec_leaky_relu(vec x) { return x > 0 ? x : (vec)LEAK * x; }
static inline vec vec_elu(vec x) { return x > 0 ? x : (vec)expm1(x); }
static inline vec vec_selu(vec x) { return (vec)(SELU_SCALE * (x > 0 ? x : SELU_ALPHA * expm1(x))); }
static inline vec vec_silu_slope(vec x, vec *slope)
{
    double e = exp(-fabs(x)), s = (x > 0 ? 1 : e) / (1 + e), bounded = x < -800 ? -800 : x;
    *slope = (vec)(s + (x > 800 ? 0 : bounded * s * (1 - s)));
    return (vec)(bounded * s);
}
static inline vec vec_silu(vec x) { vec slope; return vec_silu_slope(x, &slope); }
static inline vec vec_gelu_slope(vec x, vec *slope)
{
    double bounded = x < -50 ? -50 : x, normal = erfc(-bounded * 0.70710678118654752) / 2;
    *slope = (vec)(normal + (x > 50 ? 0 : bounded * 0.39894228040143268 * exp(-bounded * bounded / 2)));
    return (vec)(bounded * normal);
}
static inline vec vec_gelu(vec x) { vec slope; return vec_gelu_slope(x, &slope); }
static inline vec vec_mish_slope(vec x, vec *slope)
{
    double bounded = x < -800 ? -800 : x, e = exp(-fabs(bounded));
    double t = tanh((bounded > 0 ? bounded : 0) + log1p(e)), s = (bounded > 0 ? 1 : e) / (1 + e);
    *slope = (vec)(t + (x > 800 ? 0 : bounded * s * (1 - t) * (1 + t)));
    return (vec)(bounded * t);
}
static inline vec vec_mish(vec x) { vec slope; return vec_mish_slope(x, &slope); }

#endif

