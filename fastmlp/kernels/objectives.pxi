# The objectives: a branch for each row of the table in fastmlp/objectives.py, and their links.
#
# A loss is one of the raw outputs z and the targets y of a row. A function for each loss goes over the
# outputs of a block, adds the losses up, and leaves delta = dL/dz in place of z.

cdef enum Loss:
    SQUARED_ERROR
    ABSOLUTE_ERROR
    HUBER
    QUANTILE
    POISSON
    GAMMA
    BINARY_LOG_LOSS
    LOG_LOSS
    N_LOSSES

cdef enum Link:
    IDENTITY_LINK
    SORTED_LINK
    EXP_LINK
    LOGISTIC_LINK
    SOFTMAX_LINK

OBJECTIVES = (  # in the order of their enums
    "squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma", "binary_log_loss", "log_loss",
)
LINKS = ("identity", "sorted", "exp", "logistic", "softmax")

ctypedef void (*LossOfBlock)(const Network *, Block *, double, Partial *) noexcept nogil

cdef struct Objective:
    int loss
    LossOfBlock block
    int link
    Py_ssize_t n_targets        # columns of Y: 1 for a class number or several quantiles, else n_out
    double outputs_averaged     # the loss of a row is its sum over the outputs, divided by this
    double slope_factor         # of dL/dz, in addition to what the branch calculates
    double loss_factor          # of the losses that are reported
    real smoothing              # of labels: y (1 - smoothing) + smoothed_share
    real smoothed_share         # smoothing / classes
    const real *parameters      # (n_out,) Huber's delta, or the level of a quantile
    const double *output_weights    # (n_out,) of the losses that are reported: the targets' scale


cdef inline void loss_and_slope(int loss, vec z, vec y, vec parameter, vec *value, vec *slope) noexcept nogil:
    """The loss of one output and its derivative by z, for losses that are sums over the outputs."""
    cdef vec zero = broadcast(0)
    cdef vec one = broadcast(1)
    cdef vec half = broadcast(<real> 0.5)
    cdef vec r = z - y
    cdef vec e, size, positive
    if loss == SQUARED_ERROR:           # the factor 2 of its slope is the objective's slope_factor
        value[0] = r * r
        slope[0] = r
    elif loss == ABSOLUTE_ERROR:
        value[0] = magnitude(r)
        slope[0] = where_positive(r, one, where_positive(-r, -one, r))
    elif loss == HUBER:
        size = magnitude(r)
        e = size - parameter
        value[0] = where_positive(e, parameter * (size - half * parameter), half * r * r)
        slope[0] = where_positive(e, where_positive(r, parameter, -parameter), r)
    elif loss == QUANTILE:
        value[0] = where_positive(r, (one - parameter) * r, -parameter * r)
        slope[0] = where_positive(r, one - parameter, where_positive(-r, -parameter, r))
    elif loss == POISSON:
        e = vec_exp(z)
        positive = where_positive(y, y, one)
        value[0] = (e - y * z) + where_positive(y, y * (vec_log(positive) - one), zero)
        slope[0] = e - y
    elif loss == GAMMA:
        e = y * vec_exp(-z)
        value[0] = (e - one) + (z - vec_log(y))
        slope[0] = one - e
    elif loss == BINARY_LOG_LOSS:
        # log(1 + exp(z)) - y z, and logistic(z) - y, without the differences of large or of equal numbers
        e = vec_exp(-magnitude(z))
        positive = one - y
        value[0] = vec_log1p(e) + where_positive(z, positive * z, where_zero(y, zero, -y * z))
        slope[0] = quotient(where_positive(z, positive - y * e, e * positive - y), one + e)


cdef inline void loss_vector(int loss, const Objective *q, const Block *b, const real *y, real *z,
                             Py_ssize_t i, Py_ssize_t rows, vec parameter, real scale, vec *total,
                             vec *bias_gradient) noexcept nogil:
    """One vector of one output, of whose lanes the first `rows` hold rows."""
    cdef vec value, slope, w, target = load(y + i)
    if loss == BINARY_LOG_LOSS and q.smoothing != 0:
        target = target * <real> (1 - q.smoothing) + q.smoothed_share
    loss_and_slope(loss, load(z + i), target, parameter, &value, &slope)
    if b.w != NULL:  # a row of weight 0 is selected out
        w = load(b.w + i)
        value, slope = relu_backward(w, w * value), relu_backward(w, w * slope)
    if rows < LANES:
        value, slope = mask_tail(value, rows), mask_tail(slope, rows)
    total[0] = total[0] + value
    slope = scale * slope
    bias_gradient[0] = bias_gradient[0] + slope
    store(z + i, slope)


cdef inline void sum_over_outputs(int loss, const Network *net, Block *b, double scale,
                                  Partial *part) noexcept nogil:
    """The losses that are sums over the outputs; inlined with a constant for the loss."""
    cdef const Objective *q = &net.objective
    cdef vec total, bias_gradient, parameter = broadcast(0)
    cdef real *to = bias_lanes(net, part)
    cdef const real *y
    cdef real *z
    cdef Py_ssize_t o, i, whole = b.rows - b.rows % LANES
    for o in range(net.n_out):
        total = bias_gradient = broadcast(0)
        if q.parameters != NULL:
            parameter = broadcast(q.parameters[o])
        z = b.z + o * net.block
        y = b.Y + (o * net.block if q.n_targets > 1 else 0)
        for i from 0 <= i < whole by LANES:
            loss_vector(loss, q, b, y, z, i, LANES, parameter, <real> scale, &total, &bias_gradient)
        if whole < b.rows:
            loss_vector(loss, q, b, y, z, whole, b.rows - whole, parameter, <real> scale, &total,
                        &bias_gradient)
        add_to_lanes(part.loss_lanes + o * LANES, total)
        accumulate(part.is_first, to + o * LANES, bias_gradient)


cdef inline vec class_target(const Objective *q, const Block *b, Py_ssize_t o, Py_ssize_t i,
                             const Network *net) noexcept nogil:
    """The probability of class o in the vector of rows at i: as given, or 1 where Y holds the class's
    number.
    """
    cdef vec y
    if q.n_targets > 1:
        y = load(b.Y + o * net.block + i)
    else:
        y = where_zero(load(b.Y + i) - broadcast(<real> o), broadcast(1), broadcast(0))
    if q.smoothing == 0:
        return y
    return y * <real> (1 - q.smoothing) + q.smoothed_share


cdef void cross_entropy(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    """log_loss: -sum_o t_o log p_o, of p = softmax(z); the slope is p sum(t) - t.

    With the largest z taken out, as sum_o t_o (log sum_j exp(z_j - max) + max - z_o): nothing overflows.
    """
    cdef const Objective *q = &net.objective
    cdef vec largest, total, loss, t, weight_of_targets, z, w, away
    cdef vec losses = broadcast(0)
    cdef real *to = bias_lanes(net, part)
    cdef Py_ssize_t o, i, rows
    for o in range(net.n_out):
        if part.is_first:
            store(to + o * LANES, broadcast(0))
    for i from 0 <= i < b.rows by LANES:
        rows = b.rows - i
        largest = load(b.z + i)
        for o in range(1, net.n_out):
            z = load(b.z + o * net.block + i)
            largest = where_less(largest, z, z, largest)
        total = loss = weight_of_targets = broadcast(0)
        for o in range(net.n_out):
            away = load(b.z + o * net.block + i) - largest
            t = class_target(q, b, o, i, net)
            weight_of_targets = weight_of_targets + t
            loss = loss - where_zero(t, t, t * away)  # 0 times an infinite distance is 0
            z = vec_exp(away)
            total = total + z
            store(b.z + o * net.block + i, z)
        loss = loss + weight_of_targets * vec_log(total)
        if b.w != NULL:
            w = load(b.w + i)
            loss = relu_backward(w, w * loss)
        if rows < LANES:
            loss = mask_tail(loss, rows)
        losses = losses + loss
        total = quotient(weight_of_targets, total)
        for o in range(net.n_out):
            z = load(b.z + o * net.block + i) * total - class_target(q, b, o, i, net)
            if b.w != NULL:
                z = relu_backward(w, w * z)
            if rows < LANES:
                z = mask_tail(z, rows)
            z = <real> scale * z
            store(b.z + o * net.block + i, z)
            store(to + o * LANES, load(to + o * LANES) + z)
    add_to_lanes(part.loss_lanes, losses)


# Add the losses of a block's rows; their delta, times `scale`, replaces z, and its sum is the gradient of the
# last bias row. One function for each loss, called by way of net.objective.block.

cdef void squared_error(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(SQUARED_ERROR, net, b, scale, part)

cdef void absolute_error(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(ABSOLUTE_ERROR, net, b, scale, part)

cdef void huber(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(HUBER, net, b, scale, part)

cdef void quantile(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(QUANTILE, net, b, scale, part)

cdef void poisson(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(POISSON, net, b, scale, part)

cdef void gamma(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(GAMMA, net, b, scale, part)

cdef void binary_log_loss(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(BINARY_LOG_LOSS, net, b, scale, part)

cdef LossOfBlock LOSSES[N_LOSSES]
LOSSES[:] = [
    squared_error, absolute_error, huber, quantile, poisson, gamma, binary_log_loss, cross_entropy,
]  # in the order of the enum


cdef double reported_loss(const Network *net, const double *loss_lanes, double weight) noexcept nogil:
    """The loss, from its sums over rows of this total weight; 0 where no row counted."""
    cdef const Objective *q = &net.objective
    cdef double total = 0
    cdef Py_ssize_t o
    for o in range(net.n_out):
        total += q.output_weights[o] * sum_lanes(loss_lanes + o * LANES)
    return q.loss_factor * total / (q.outputs_averaged * weight) if weight else 0


cdef inline double slope_scale(const Objective *q, double weight) noexcept nogil:
    """What slopes are multiplied by, for a mean over rows of this total weight."""
    return q.slope_factor / (q.outputs_averaged * weight)


cdef void apply_link(const Network *net, real *z, Py_ssize_t block, Py_ssize_t rows) noexcept nogil:
    """Predictions of raw outputs z (n_out, block), in place."""
    cdef int link = net.objective.link
    cdef vec a, c, total
    cdef Py_ssize_t i, o, k, m = net.n_out
    for i from 0 <= i < rows by LANES:
        if link == EXP_LINK:
            for o in range(m):
                store(z + o * block + i, vec_exp(load(z + o * block + i)))
        elif link == LOGISTIC_LINK:
            for o in range(m):
                store(z + o * block + i, vec_logistic(load(z + o * block + i)))
        elif link == SORTED_LINK:  # by exchanges of neighbours, as there are few levels
            for k in range(m - 1, 0, -1):
                for o in range(k):
                    a, c = load(z + o * block + i), load(z + (o + 1) * block + i)
                    store(z + o * block + i, where_less(c, a, c, a))
                    store(z + (o + 1) * block + i, where_less(c, a, a, c))
        elif link == SOFTMAX_LINK:
            a = load(z + i)
            for o in range(1, m):
                c = load(z + o * block + i)
                a = where_less(a, c, c, a)
            total = broadcast(0)
            for o in range(m):
                c = vec_exp(load(z + o * block + i) - a)
                total = total + c
                store(z + o * block + i, c)
            for o in range(m):
                store(z + o * block + i, quotient(load(z + o * block + i), total))
