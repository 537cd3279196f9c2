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


cdef inline Py_ssize_t n_state_vectors(const Optimizer *o) noexcept nogil:
    """How many of its two moments the optimizer reads and writes."""
    return 2 if o.adam else o.momentum != 0


cdef void add_penalty(real *gradient, const real *W, Py_ssize_t size, double l2) noexcept nogil:
    """The gradient of l2/2 sum W**2, for one matrix without its bias row."""
    cdef Py_ssize_t i
    cdef real factor = <real> l2
    for i in range(size):
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


cdef void sgd_step(const Optimizer *o, real *p, const real *g, real *velocity,
                   Py_ssize_t size) noexcept nogil:
    cdef real rate = <real> o.learning_rate
    cdef real momentum = <real> o.momentum
    cdef vec v
    cdef Py_ssize_t i
    for i from 0 <= i < size by LANES:
        v = load(g + i)
        if momentum != 0:  # without, nothing is remembered, and less memory moved
            v = momentum * load(velocity + i) + v
            store(velocity + i, v)
            if o.nesterov:
                v = load(g + i) + momentum * v
        store(p + i, load(p + i) - rate * v)


cdef void adam_step(const Optimizer *o, real *p, const real *g, real *m_, real *v_,
                    Py_ssize_t size) noexcept nogil:
    cdef real beta1 = <real> o.beta1
    cdef real beta2 = <real> o.beta2
    cdef real rest1 = <real> (1 - o.beta1)
    cdef real rest2 = <real> (1 - o.beta2)
    cdef real rate = <real> (o.learning_rate / (1 - pow(o.beta1, o.steps)))
    cdef real root = <real> (1 / sqrt(1 - pow(o.beta2, o.steps)))
    cdef real eps = <real> o.eps
    cdef real keep = <real> (1 - o.learning_rate * o.weight_decay)
    cdef vec m, v
    cdef Py_ssize_t i
    for i from 0 <= i < size by LANES:
        m = beta1 * load(m_ + i) + rest1 * load(g + i)
        v = beta2 * load(v_ + i) + rest2 * load(g + i) * load(g + i)
        store(m_ + i, m)
        store(v_ + i, v)
        store(p + i, keep * load(p + i) - quotient(rate * m, square_root(v) * root + eps))


cdef void optimizer_step(Optimizer *o, real *p, const real *g, real *m_, real *v_,
                         Py_ssize_t size) noexcept nogil:
    """Move p against g; `m_` and `v_` (size,) are the optimizer's memory."""
    o.steps += 1
    if o.adam:
        adam_step(o, p, g, m_, v_, size)
    else:
        sgd_step(o, p, g, m_, size)
