# One step of an optimizer: one loop over the flat parameter buffer. reference.py has the formulas
# (sgd_step, adam_step); a hyper-parameter is a double and is rounded once, before the loop. Sizes are
# whole vectors: what pads them stays zero.

cdef struct Optimizer:
    bint adam               # else SGD
    bint nesterov
    double learning_rate
    double momentum
    double beta1, beta2, eps
    double weight_decay
    double l2
    double l2_over_weight   # more of it, divided by the weight of the batch
    double clip_norm        # of the gradient, at most; 0: any
    int64_t steps           # taken so far
    bint rate_in_velocity   # SGD's velocity is that of the learning rate of its time, as in scikit-learn,
    double velocity_rate    # and this was the last one; else 0

cdef enum Shape:
    CONSTANT
    COSINE
    COSLOG
    INVERSE

SCHEDULES = ("constant", "cosine", "coslog", "inverse")  # in the order of the enum

cdef struct Schedule:       # of the learning rate; fastmlp/schedules.py has the formulas
    int shape
    double cycles
    double power
    double warmup           # share of the steps in which the rate rises from 0

cdef double PI = 3.141592653589793


cdef double schedule_factor(const Schedule *s, double step, double steps, double epoch) noexcept nogil:
    """Of the learning rate in a step of so many, from 0 on."""
    cdef double t = step / steps
    if t < s.warmup:
        return min(1.0, (step + 1) / (s.warmup * steps))
    t = (t - s.warmup) / (1 - s.warmup)
    if s.shape == COSINE:
        return (1 + cos(PI * t)) / 2
    if s.shape == COSLOG:
        return (1 - cos(2 * PI * log2(1 + (pow(2, s.cycles) - 1) * t))) / 2
    if s.shape == INVERSE:
        return pow(1 + epoch, -s.power)
    return 1


cdef inline Py_ssize_t n_state_vectors(const Optimizer *o) noexcept nogil:
    """How many of its two moments the optimizer reads and writes."""
    return 2 if o.adam else o.momentum != 0


cdef void add_penalty(const Network *net, real *gradient, const real *W, double l2) noexcept nogil:
    """The gradient of l2/2 sum W**2, without the bias rows."""
    cdef real factor = <real> l2
    cdef Py_ssize_t i
    cdef int l
    for l in range(net.n_layers):
        for i in range(net.layers[l].weight_offset, net.layers[l].bias_offset):
            gradient[i] += factor * W[i]


cdef void clip(real *gradient, Py_ssize_t size, double max_norm) noexcept nogil:
    """reference.clipped: shorten a gradient whose norm is larger; the squares are added as doubles."""
    cdef double squares[LANES]
    cdef double x, factor
    cdef Py_ssize_t i
    cdef int j
    memset(squares, 0, LANES * sizeof(double))
    for i from 0 <= i < size by LANES:
        for j in range(LANES):
            x = gradient[i + j]
            squares[j] += x * x
    factor = max_norm / (sqrt(sum_lanes(squares)) + 1e-6)
    if not factor >= 1:  # NaN as well
        for i in range(size):
            gradient[i] *= <real> factor


cdef void change_velocity_rate(Optimizer *o, double rate, real *velocity, Py_ssize_t size) noexcept nogil:
    """Have the velocity stand for the same steps at another learning rate."""
    cdef real factor = <real> (o.velocity_rate / rate)
    cdef Py_ssize_t i
    if o.velocity_rate != 0:
        for i in range(size):
            velocity[i] *= factor
    o.velocity_rate = rate


cdef enum:
    STEP_SLICE = 8192       # parameters that a thread moves at a time

cdef struct Step:
    Optimizer *optimizer
    double rate_factor      # of the schedule
    const real *p           # (size,) parameters before,
    real *to                # and after; the same, or other memory
    real *g                 # (size,) gradient
    real *first             # (size,) the optimizer's memory
    real *second
    Py_ssize_t size


cdef void optimizer_step(Step *s, Team *team) noexcept nogil:
    """Move the parameters against the gradient."""
    cdef Optimizer *o = s.optimizer
    cdef double rate = s.rate_factor * o.learning_rate
    o.steps += 1
    if o.rate_in_velocity and not o.adam and rate not in (0, o.velocity_rate):
        change_velocity_rate(o, rate, s.first, s.size)
    run_task(team, adam_slice if o.adam else sgd_slice, s, ceiling(s.size, STEP_SLICE),
             FLOPS_OF_TRANSFER * (1 + n_state_vectors(o)) * s.size)


cdef void sgd_slice(void *context, Py_ssize_t slice, Py_ssize_t thread) noexcept nogil:
    cdef const Step *s = <Step *> context
    cdef const Optimizer *o = s.optimizer
    cdef real rate = <real> (s.rate_factor * o.learning_rate)
    cdef real momentum = <real> o.momentum
    cdef const real *p = s.p
    cdef const real *g = s.g
    cdef real *to = s.to
    cdef real *velocity = s.first
    cdef vec v
    cdef Py_ssize_t i, end = min((slice + 1) * STEP_SLICE, s.size)
    for i from slice * STEP_SLICE <= i < end by LANES:
        v = load(g + i)
        if momentum != 0:  # without momentum no velocity is read or written
            v = momentum * load(velocity + i) + v
            store(velocity + i, v)
            if o.nesterov:
                v = load(g + i) + momentum * v
        store(to + i, load(p + i) - rate * v)


cdef void adam_slice(void *context, Py_ssize_t slice, Py_ssize_t thread) noexcept nogil:
    cdef const Step *s = <Step *> context
    cdef const Optimizer *o = s.optimizer
    cdef real beta1 = <real> o.beta1
    cdef real beta2 = <real> o.beta2
    cdef real rest1 = <real> (1 - o.beta1)
    cdef real rest2 = <real> (1 - o.beta2)
    cdef double learning_rate = s.rate_factor * o.learning_rate
    cdef real rate = <real> (learning_rate / (1 - pow(o.beta1, o.steps)))
    cdef real root = <real> (1 / sqrt(1 - pow(o.beta2, o.steps)))
    cdef real eps = <real> o.eps
    cdef real keep = <real> (1 - learning_rate * o.weight_decay)
    cdef const real *p = s.p
    cdef const real *g = s.g
    cdef real *to = s.to
    cdef real *first = s.first
    cdef real *second = s.second
    cdef vec m, v
    cdef Py_ssize_t i, end = min((slice + 1) * STEP_SLICE, s.size)
    for i from slice * STEP_SLICE <= i < end by LANES:
        m = beta1 * load(first + i) + rest1 * load(g + i)
        v = beta2 * load(second + i) + rest2 * load(g + i) * load(g + i)
        store(first + i, m)
        store(second + i, v)
        store(to + i, keep * load(p + i) - quotient(rate * m, square_root(v) * root + eps))
