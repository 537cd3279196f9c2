/* Temporary: lane by lane, by the C library. */
#define PER_LANE(NAME, EXPRESSION) \
static inline vec NAME(vec v) { real a[LANES]; store(a, v); \
    for (int i = 0; i < LANES; i++) { double x = a[i]; a[i] = (real) (EXPRESSION); } return load(a); }
static inline double softplus_(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
static inline double cdf_(double x) { return erfc(-x / 1.4142135623730951) / 2; }
PER_LANE(vec_exp, exp(x)) PER_LANE(vec_log, log(x)) PER_LANE(vec_log1p, log1p(x)) PER_LANE(vec_expm1, expm1(x))
PER_LANE(vec_tanh, tanh(x)) PER_LANE(vec_logistic, 1 / (1 + exp(-x))) PER_LANE(vec_softplus, x != x ? x : softplus_(x))
PER_LANE(vec_elu, x > 0 ? x : expm1(x))
PER_LANE(vec_selu, 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * expm1(x)))
PER_LANE(vec_leaky_relu, x > 0 ? x : 0.01 * x)
PER_LANE(vec_silu, x < -800 ? -0.0 : x / (1 + exp(-x)))
PER_LANE(vec_gelu, x < -50 ? -0.0 : x * cdf_(x))
PER_LANE(vec_mish, x < -800 ? -0.0 : x * tanh(softplus_(x)))
PER_LANE(silu_slope_, x < -800 ? 0 : 1 / (1 + exp(-x)) * (1 + x / (1 + exp(x))))
PER_LANE(gelu_slope_, x < -50 ? 0 : cdf_(x) + x * exp(-x * x / 2) * 0.3989422804014327)
PER_LANE(mish_slope_, x < -800 ? 0 : tanh(softplus_(x)) + x / (1 + exp(-x)) * (1 - tanh(softplus_(x)) * tanh(softplus_(x))))
static inline vec vec_silu_slope(vec x, vec *s) { *s = silu_slope_(x); return vec_silu(x); }
static inline vec vec_gelu_slope(vec x, vec *s) { *s = gelu_slope_(x); return vec_gelu(x); }
static inline vec vec_mish_slope(vec x, vec *s) { *s = mish_slope_(x); return vec_mish(x); }
