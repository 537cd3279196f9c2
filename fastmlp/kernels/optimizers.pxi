# One step of an optimizer: one loop over the flat parameter buffer. reference.py has the formulas
# (sgd_step, adam_step); a hyper-parameter is a double and is rounded once, before the loop.

cdef struct Optimizer:
    bint adam               # else SGD
    bint nesterov
    double learning_rate
    double momentum
    double beta1, beta2, eps
    double weight_decay
    double l2
    int64_t steps           # taken so far


cdef void add_penalty(real *gradient, const real *W, Py_ssize_t size, double l2) noexcept nogil:
    """The gradient of l2/2 sum W**2, for one matrix without its bias row."""
    cdef Py_ssize_t i
    cdef real factor = <real> l2
    for i in range(size):
        gradient[i] += factor * W[i]


cdef void sgd_step(const Optimizer *o, real *p, const real *g, real *velocity,
                   Py_ssize_t size) noexcept nogil:
    cdef real rate = <real> o.learning_rate
    cdef real momentum = <real> o.momentum
    cdef real v
    cdef Py_ssize_t i
    if o.momentum == 0:  # nothing is remembered, and a third less memory moved
        for i in range(size):
            p[i] -= rate * g[i]
        return
    for i in range(size):
        v = momentum * velocity[i] + g[i]
        velocity[i] = v
        p[i] -= rate * (g[i] + momentum * v if o.nesterov else v)


cdef void adam_step(const Optimizer *o, real *p, const real *g, real *first, real *second,
                    Py_ssize_t size) noexcept nogil:
    cdef real beta1 = <real> o.beta1
    cdef real beta2 = <real> o.beta2
    cdef real rest1 = <real> (1 - o.beta1)
    cdef real rest2 = <real> (1 - o.beta2)
    cdef real rate = <real> (o.learning_rate / (1 - o.beta1 ** <double> o.steps))
    cdef real root = <real> (1 / (1 - o.beta2 ** <double> o.steps) ** 0.5)
    cdef real eps = <real> o.eps
    cdef real keep = <real> (1 - o.learning_rate * o.weight_decay)
    cdef Py_ssize_t i
    for i in range(size):
        first[i] = beta1 * first[i] + rest1 * g[i]
        second[i] = beta2 * second[i] + rest2 * g[i] * g[i]
        p[i] = keep * p[i] - rate * first[i] / (square_root(second[i]) * root + eps)


cdef void optimizer_step(Optimizer *o, real *p, const real *g, real *first, real *second,
                         Py_ssize_t size) noexcept nogil:
    """Move p against g; `first` and `second` (size,) are the optimizer's memory."""
    o.steps += 1
    if o.adam:
        adam_step(o, p, g, first, second, size)
    else:
        sgd_step(o, p, g, first, size)
