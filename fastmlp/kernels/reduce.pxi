# Passes over rows: predictions, and the loss with its gradient, on one thread or several.
#
# Rows are cut into chunks, whose size follows from the network and the number of rows alone. A chunk
# is one thread's; the sums of the chunks are added in their order. So the same bits come out for any
# number of threads. Within a chunk a sum is taken block by block, then over blocks: its rounding error
# grows with block + chunk/block, not with the number of rows.

cdef enum:
    # Of a pass: FEW_CHUNKS, or up to MAX_CHUNKS of MANY_ROWS each, as to add up the gradients of shorter ones
    # would take over 1.3 % of a pass (128-1024-1, n = 10 000, one thread: 48 chunks 4 % slower than 16).
    # Fewer where one would cost less than MIN_CHUNK_FLOPS, more where it would exceed
    # FLOPS_BETWEEN_SIGNAL_CHECKS, but at most MAX_CHUNKS at a time. Both can be shared evenly by 2, 4, 8, 16
    # threads.
    FEW_CHUNKS = 16
    MAX_CHUNKS = 48
    MANY_ROWS = 640
    # Numbers of a gradient that a thread adds up at a time: 784-256-10, n = 256, float64, two threads take
    # 2.78 ms a step, and 3.11 where one thread adds up all.
    REDUCTION_SLICE = 4096

# Operations between two looks at the signals: half a second at 1 GF/s, 5 ms at 100 GF/s.
cdef double FLOPS_BETWEEN_SIGNAL_CHECKS = 5e8

# Operations that are worth a chunk of their own, and that a call should have before it starts threads: 30 us
# and 0.1 ms at 100 GF/s.
cdef double MIN_CHUNK_FLOPS = 3e6
cdef double MIN_THREADED_FLOPS = 1e7

# Operations in the time that a number takes from one cache and back: 0.5 ns.
cdef double FLOPS_OF_TRANSFER = 50

cdef struct Partial:        # what a pass over rows adds up
    double *loss_lanes      # (n_out, LANES) losses of each output, one partial sum for each lane
    real *gradient          # (size,)
    # The gradient, a partial sum for each lane, which finish_gradient adds up: with rows in lanes (size,)
    # vectors; with units in lanes of the last bias row alone, (n_out,) vectors.
    real *gradient_lanes
    bint is_first           # gradient and lanes hold nothing yet: the first block begins them

cdef struct Pass:
    const Network *net
    const Weights *weights
    const real *W
    const real *transposed
    const Dataset *data
    const int64_t *order
    Py_ssize_t first, last, chunk
    double scale            # of the slopes; 0: only the loss
    bint with_link
    real *out               # (n, n_out), for predictions
    const Block *buffers    # one for each thread
    real **lanes            # the same
    Partial *parts          # one for each chunk


cdef void add_chunk(void *context, Py_ssize_t chunk, Py_ssize_t thread) noexcept nogil:
    """The losses of a chunk's rows and, unless the scale is 0, their gradient."""
    cdef Pass *p = <Pass *> context
    cdef const Network *net = p.net
    cdef const Block *buffers = &p.buffers[thread]
    cdef Partial *part = &p.parts[chunk]
    cdef Py_ssize_t first = p.first + chunk * p.chunk
    cdef Py_ssize_t i, rows, last = min(first + p.chunk, p.last)
    cdef Block b
    memset(part.loss_lanes, 0, net.n_out * LANES * sizeof(double))
    part.gradient_lanes = p.lanes[thread]
    part.is_first = True
    for i from first <= i < last by net.block:
        rows = min(net.block, last - i)
        if p.data.blocks != NULL:
            b = loaded(net, p.data, p.data.blocks + i // net.block * block_size(net, p.data), rows, buffers)
        else:
            b = load_block(net, p.data, p.order, i, rows, <real *> buffers.X, buffers)
        gradient_of_block(net, p.weights, p.W, p.transposed, &b, p.scale, part)
    if p.scale != 0:
        finish_gradient(net, p.W, part)


cdef void predict_chunk(void *context, Py_ssize_t chunk, Py_ssize_t thread) noexcept nogil:
    cdef Pass *p = <Pass *> context
    cdef const Network *net = p.net
    cdef Block b
    cdef Py_ssize_t first = p.first + chunk * p.chunk
    cdef Py_ssize_t i, rows, last = min(first + p.chunk, p.last)
    for i from first <= i < last by net.block:
        rows = min(net.block, last - i)
        b = load_block(net, p.data, NULL, i, rows, <real *> p.buffers[thread].X, &p.buffers[thread])
        forward_block(net, p.weights, &b, False)
        store_outputs(net, &b, p.with_link, p.out + i * net.n_out)


cdef inline void store_outputs(const Network *net, const Block *b, bint with_link, real *out) noexcept nogil:
    cdef Py_ssize_t i, o
    if with_link and net.objective.link != IDENTITY_LINK:
        apply_link(net, b.z, net.block, b.rows)
    for o in range(net.n_out):
        for i in range(b.rows):
            out[i * net.n_out + o] = b.z[o * net.block + i]


cdef double sum_lanes(const double *lanes) noexcept nogil:
    """The sum of LANES numbers, halves added to halves: one by one they would wait for each other."""
    cdef double s[LANES]
    cdef int i, n = LANES // 2
    memcpy(s, lanes, LANES * sizeof(double))
    while n:
        for i in range(n):
            s[i] += s[i + n]
        n //= 2
    return s[0]


cdef double total_weight(const Dataset *data, const int64_t *order,
                         Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The sum of the sample weights of rows first..last."""
    cdef double total = 0
    cdef Py_ssize_t i
    if data.w == NULL:
        return last - first
    for i in range(first, last):
        total += data.w[row_index(order, i)]
    return total


cdef struct Reduction:      # gradients of chunks, which are to be added to that of all
    real *gradient
    const Partial *parts
    Py_ssize_t first, last, size


cdef Py_ssize_t n_slices(const Reduction *r) noexcept nogil:
    return ceiling(r.size, REDUCTION_SLICE) if r.first < r.last else 0


cdef void reduce_slice(void *context, Py_ssize_t slice, Py_ssize_t thread) noexcept nogil:
    """A slice of the gradient: it stays in cache while the chunks pass by, in their order."""
    cdef Reduction *r = <Reduction *> context
    cdef Py_ssize_t c, i, begin = slice * REDUCTION_SLICE, end = min(begin + REDUCTION_SLICE, r.size)
    for c in range(r.first, r.last):
        for i from begin <= i < end by LANES:
            store(r.gradient + i, load(r.gradient + i) + load(r.parts[c].gradient + i))


cdef int check_signals(double *flops_done, double flops) except -1 nogil:
    """Look at the signals now and then; a handler's exception ends the call."""
    flops_done[0] += flops
    if flops_done[0] >= FLOPS_BETWEEN_SIGNAL_CHECKS:
        flops_done[0] = 0
        with gil:
            PyErr_CheckSignals()
    return 0
