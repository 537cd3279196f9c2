/* Elementwise functions on vectors: exp, log, tanh, logistic, erf and what is made of them.
 *
 * Range reduction and polynomials, without tables and without branches: every lane computes the same, and
 * selections choose. `python tools/elementwise_error.py` measures the errors over all 2^32 float inputs.
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

/* Polynomials by Chebyshev's expansion, each as good as the rounding of what it is part of:
 *
 * EXP   ((e^r - 1) / r - 1) / r, |r| <= ln(2) / 2
 * LOG   (log((1 + s) / (1 - s)) - 2 s) / s^3 in s^2, s <= (sqrt(2) - 1) / (sqrt(2) + 1)
 * TANH  (tanh(x) / x - 1) / x^2 in x^2, |x| <= 5/8
 * ERF   erf(x) / x - 1 in x^2, |x| <= 1; by itself smaller than 1, its rounding counts less
 * TAIL  (s + 3) e^(s^2 / 2) erfc(s / sqrt(2)) / 2 in (s - 2) / (s + 3), s <= TAIL_END, where erfc is 0 (a form like
 *       Shepherd and Laframboise's, Math. Comp. 36, 1981). Of the numbers tried in place of 2 and 3, these need few
 *       terms and lose few digits: all partial sums together are less than three times the result. */
#define TERMS(series) (int)(sizeof(series) / sizeof(series[0]))
#if SINGLE
static const real EXP[6] = { /* error 1e-10 */
    0.500000001346581, 0.16666666681623232, 0.041666464925285904, 0.0083333109254809, 0.0013933649996309251,
    0.00019890990824673654};
static const real LOG[3] = { /* error 3e-09 */
    0.6666668515145278, 0.39988734820244165, 0.2958202356203656};
static const real TANH[6] = { /* error 7e-10 */
    -0.333333331560308866, 0.133333009666536015, -0.0539586242219203153, 0.0217636337075132234,
    -0.0083264023251604049, 0.00227270492527150607};
static const real ERF[7] = { /* error 1e-09 */
    0.12837916584835093, -0.37612626666720334, 0.11283594715160218, -0.026854212010626412, 0.005189087423433974,
    -0.000801686428716587, 7.875875062685488e-05};
#define TAIL_END 14.5
static const real TAIL[11] = { /* error 6e-9, of these numbers of 24 bits */
    0.84051, -0.72794694, 0.36768606, -0.06276346, -0.034333654, 0.012446366, 0.0063281055, -0.0017892648,
    -0.00161108, 0.00009660525, 0.0003179466};
#else
static const real EXP[11] = { /* error 2e-19 */
    0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326136, 0.0013888888888883748,
    0.00019841269874820627, 2.4801587325547743e-05, 2.7557255400206422e-06, 2.75572736431103e-07,
    2.5105217004720745e-08, 2.0914686968086876e-09};
static const real LOG[7] = { /* error 4e-18 */
    0.666666666666667, 0.3999999999989827, 0.2857142862653362, 0.22222211043776857, 0.18182895750119193,
    0.1533150161114533, 0.1461916613488797};
static const real TANH[12] = { /* error 2e-18 */
    -0.333333333333333328, 0.133333333333329735, -0.0539682539678216769, 0.0218694885157846477,
    -0.00886323503291750207, 0.00359212086098987124, -0.00145576842000949066, 0.000589625530091059719,
    -0.000237477686338023164, 0.0000923463091431063, -0.0000309488902965279988, 6.36330952026345198e-6};
static const real ERF[12] = { /* error 7e-18 */
    0.12837916709551256, -0.37612638903183543, 0.11283791670945006, -0.02686617064323777, 0.0052239776071164225,
    -0.0008548325975389692, 0.00012055294904839707, -1.492473690741966e-05, 1.6447424703317362e-06,
    -1.6208483801871705e-07, 1.3720064546777686e-08, -7.795898827002142e-10};
#define TAIL_END 40
static const real TAIL[24] = { /* error 3e-17 */
    0.840510006115853, -0.7279469427614338, 0.36768644042302234, -0.06276331143575145, -0.03433875782037427,
    0.012442929135722779, 0.006354025698042363, -0.0017589861609812985, -0.0016750144071846656,
    -8.379220849032012e-06, 0.0004034900576406975, 0.00014409116343057745, -5.02719997642374e-05,
    -6.186755176402688e-05, -1.4892945923887857e-05, 1.048254805651232e-05, 9.989396022087452e-06,
    3.0657975635198903e-06, -1.2380484648219014e-06, -2.854656747485322e-06, -1.0914575539806356e-06,
    1.1932029485614443e-06, 4.937499894812747e-07, -3.184226572878387e-07};
#endif

static inline vec clamp(vec x, real low, real high)
{
    return at_most(broadcast(high), at_least(broadcast(low), x)); /* NaN stays */
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
static inline vec expm1_reduced(vec r) { return add_products(r, r * r, polynomial(r, EXP, TERMS(EXP))); }

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
    t = s * (half_square + z * polynomial(z, LOG, TERMS(LOG)));
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

/* e^x where that is far from the borders of the numbers. */
static inline vec exp_inside(vec x)
{
    ints n;
    vec r = reduce(x, &n);
    return (expm1_reduced(r) + 1) * power_of_2(n);
}

static inline vec vec_tanh(vec x)
{
    vec size = at_most(broadcast(SINGLE ? 10 : 20), magnitude(x)), square = x * x;
    vec far = 1 - 2 / (exp_inside(2 * size) + 1); /* what is taken off 1 counts little */
    far = (vec)((mask)far | ((mask)x & (mask)-(vec){0}));
    return where_less(size, broadcast((real)0.625), add_products(x, x * square, polynomial(square, TANH, TERMS(TANH))),
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
#if defined(FUSED)
    return add_products(-square, x, x);
#else
    vec high = from_bits(bits_of(x) & ~(((lane_int)1 << (MANTISSA / 2 + 1)) - 1)), low = x - high;
    return ((high * high - square) + 2 * high * low) + low * low;
#endif
}

/* erfc(|x| / sqrt(2)) / 2, the tail of the normal distribution, is (what is returned + low) * second; and
 * e^(-x^2 / 2) is density * second. What the square loses goes into the reduced argument of e; what the sum s + 3,
 * its reciprocal and the last product lose, into low: gelu is 3.5 units off at most, else 4.3. */
static inline vec normal_tail(vec x, vec *low, vec *density, vec *second)
{
    ints n, half;
    vec s = at_most(broadcast((real)TAIL_END), magnitude(x)), square = s * s, lost = square_error(s, square);
    vec r = reduce(at_least(broadcast((real)EXP_LOWEST), (real)-0.5 * square), &n) - (real)0.5 * lost;
    vec sum = s + 3, inverse = 1 / sum, off = (sum - 3 - s) * inverse;
    vec e = expm1_reduced(r), p = polynomial((s - 2) * inverse, TAIL, TERMS(TAIL)), numerator, tail;
    half = n >> 1;
    *second = power_of_2(n - half);
    *density = (e + 1) * power_of_2(half);
    numerator = add_products(p, p, e) * power_of_2(half); /* p (1 + e) in one rounding */
#if defined(FUSED)
    tail = numerator * inverse;
    off += add_products(broadcast(1), -sum, inverse);
    *low = add_products(add_products(-tail, numerator, inverse), tail, off);
#else
    tail = numerator / sum;
    *low = tail * off;
#endif
    return tail;
}

/* erf(x) for |x| <= 1. */
static inline vec erf_near(vec x) { return add_products(x, x, polynomial(x * x, ERF, TERMS(ERF))); }

static inline vec vec_erf(vec x)
{
    vec low, density, second, tail = normal_tail(x * (real)1.4142135623730950, &low, &density, &second);
    vec far = 1 - 2 * ((tail + low) * second);
    far = where_less(x, (vec){0}, -far, far);
    return where_less(magnitude(x), broadcast(1), erf_near(x), far);
}

static inline vec vec_gelu_slope(vec x, vec *slope)
{
    vec low, density, second, tail = normal_tail(x, &low, &density, &second);
    vec bounded = clamp(x, -(real)TAIL_END, (real)TAIL_END);
    vec whole = (tail + low) * second, distribution = where_positive(x, 1 - whole, whole), product = bounded * tail;
    vec near = (real)0.5 + (real)0.5 * erf_near(x * (real)0.70710678118654752);
    distribution = where_less(magnitude(x), broadcast(1), near, distribution);
    *slope = distribution + bounded * ((real)0.39894228040143268 * (density * second));
#if defined(FUSED)
    low = add_products(add_products(-product, bounded, tail), bounded, low);
#else
    low *= bounded;
#endif
    /* below -1 the result may be subnormal: rounded once, at the end */
    return where_less(x, broadcast(-1), (product + low) * second, x * distribution);
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

static inline vec silu_slope(vec x) { vec slope; vec_silu_slope(x, &slope); return slope; }
static inline vec gelu_slope(vec x) { vec slope; vec_gelu_slope(x, &slope); return slope; }
static inline vec mish_slope(vec x) { vec slope; vec_mish_slope(x, &slope); return slope; }

/* The functions by their names, of whole arrays; for elementwise.pxi. */
#define ELEMENTWISE(DO) \
    DO(exp, vec_exp) DO(expm1, vec_expm1) DO(log, vec_log) DO(log1p, vec_log1p) DO(tanh, vec_tanh) \
    DO(logistic, vec_logistic) DO(erf, vec_erf) DO(softplus, vec_softplus) DO(elu, vec_elu) DO(selu, vec_selu) \
    DO(leaky_relu, vec_leaky_relu) DO(silu, vec_silu) DO(gelu, vec_gelu) DO(mish, vec_mish) \
    DO(silu_slope, silu_slope) DO(gelu_slope, gelu_slope) DO(mish_slope, mish_slope)

#define OF_ARRAY(name, function) \
    static void name##_of_array(const real *x, ptrdiff_t n, real *out) \
    { \
        real tail[LANES] = {0}; \
        ptrdiff_t i = 0; \
        for (; i + LANES <= n; i += LANES) store(out + i, function(load(x + i))); \
        for (int lane = 0; i + lane < n; lane++) tail[lane] = x[i + lane]; \
        store(tail, function(load(tail))); \
        for (int lane = 0; i + lane < n; lane++) out[i + lane] = tail[lane]; \
    }
ELEMENTWISE(OF_ARRAY)

typedef void (*of_array)(const real *x, ptrdiff_t n, real *out);
#define NAME(name, function) #name,
#define FUNCTION(name, function) name##_of_array,
static const char *const ELEMENTWISE_NAMES[] = {ELEMENTWISE(NAME)};
static const of_array ELEMENTWISE_FUNCTIONS[] = {ELEMENTWISE(FUNCTION)};
#define N_ELEMENTWISE (int)(sizeof(ELEMENTWISE_FUNCTIONS) / sizeof(ELEMENTWISE_FUNCTIONS[0]))
