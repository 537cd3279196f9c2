# Passes over rows: predictions, and the loss with its gradient, on one thread or several.
#
# Rows are cut into chunks, whose size follows from the network and the number of rows alone. A chunk
# is one thread's; the sums of the chunks are added in their order. So the same bits come out for any
# number of threads. Within a chunk a sum is taken block by block, then over blocks: its rounding error
# grows with block + chunk/block, not with the number of rows.

cdef enum:
    MAX_PARTIALS = 16              # chunks at a time, before their sums are added up
    # Fewer where one would cost less than MIN_CHUNK_FLOPS, more where it would exceed
    # FLOPS_BETWEEN_SIGNAL_CHECKS.
    CHUNKS_PER_PASS = 16
    # Numbers of a gradient that a thread adds up at a time: 784-256-10, n = 256, float64, two threads take
    # 2.78 ms a step, and 3.11 where one thread adds up all.
    REDUCTION_SLICE = 4096

# Operations between two looks at the signals: half a second at 1 GF/s, 5 ms at 100 GF/s.
cdef double FLOPS_BETWEEN_SIGNAL_CHECKS = 5e8

# Operations that are worth a chunk of their own, and threads: 30 us and 0.3 ms at 100 GF/s.
cdef double MIN_CHUNK_FLOPS = 3e6
cdef double MIN_THREADED_FLOPS = 3e7

# Rows of a prediction for which it does not pay to bring the weights into the kernels' order.
cdef enum:
    MAX_SMALL_BATCH = 16
    MAX_ROW_BY_ROW = 2          # 3-4-1 from Python: 2 rows one by one take 341 ns, 3 rows in vectors 524
    STACK_SCRATCH = 1024         # numbers such a prediction may take there; malloc and free cost 20 ns

cdef struct Partial:           # what a pass over rows adds up
    double *loss_lanes               # (m, LANES) squared residuals
    real *gradient          # (size,)
    real *gradient_lanes    # vectors whose lanes are still to be added: narrow (size,), wide (m,)
    bint is_first              # gradient and lanes hold nothing yet: the first block begins them

cdef struct Pass:
    const Network *net
    const real *W
    const Dataset *data
    const int64_t *order
    Py_ssize_t first, last, chunk
    double scale            # of dL/dE; 0: only the loss
    real *E                 # (n, m), for predictions
    const Block *buffers    # one for each thread
    real **lanes            # the same
    Partial *parts             # one for each chunk


cdef void forward_block(const Network *net, const Weights *W, Block *b) noexcept nogil:
    if net.narrow:
        forward_narrow(net, W, b)
    else:
        forward_wide(net, W, b)


cdef void backward_block(const Network *net, const real *W, Block *b, Partial *sums) noexcept nogil:
    if net.narrow:
        backward_narrow(net, W, b, sums)
    else:
        backward_wide(net, W, b, sums)


cdef inline void residual(Block *b, Py_ssize_t o, Py_ssize_t i, Py_ssize_t rows, real scale, vec *H,
                          vec *db2) noexcept nogil:
    """The same for one vector, of which the first `rows` lanes count."""
    cdef real *F = b.F + o + i
    cdef vec f = load(F) - load(b.Y + o + i)
    cdef vec wf = f if b.w == NULL else load(b.w + i) * f
    if rows < LANES:
        f, wf = mask_tail(f, rows), mask_tail(wf, rows)
    H[0] = H[0] + wf * f
    wf = scale * wf
    db2[0] = db2[0] + wf
    store(F, wf)


cdef void residual_block(const Network *net, Block *b, double scale, Partial *sums) noexcept nogil:
    """F = E - Y, H += w F**2; F becomes dL/dE = scale w F, and db2 += its sum."""
    cdef vec f, h, db
    cdef real *db2 = sums.gradient_lanes + (net.b2 * LANES if net.narrow else 0)
    cdef Py_ssize_t o, i, whole = b.rows - b.rows % LANES
    for o in range(net.m):
        h = db = broadcast(0)
        for i from 0 <= i < whole by LANES:
            residual(b, o * net.block, i, LANES, scale, &h, &db)
        if whole < b.rows:
            residual(b, o * net.block, whole, b.rows - whole, scale, &h, &db)
        add_to_lanes(sums.loss_lanes + o * LANES, h)
        accumulate(sums.is_first, db2 + o * LANES, db)


cdef void add_rows(const Pass *p, Py_ssize_t first, Py_ssize_t last, const Block *buffers,
                   Partial *sums) noexcept nogil:
    """Rows first..last: their squared residuals and, unless the scale is 0, their gradient."""
    cdef const Network *net = p.net
    cdef const Dataset *data = p.data
    cdef Weights weights = native_weights(net, p.W)
    cdef Block b
    cdef Py_ssize_t i, rows
    for i from first <= i < last by net.block:
        rows = min(net.block, last - i)
        if data.blocks != NULL:
            b = loaded(net, data, data.blocks + i // net.block * block_size(net, data), rows, buffers)
        else:
            b = load_block(net, data, p.order, i, rows, <real *> buffers.X, buffers)
        if p.scale != 0 and net.tiny:
            tiny_block(net, p.W, &b, p.scale, sums)
        else:
            forward_block(net, &weights, &b)
            residual_block(net, &b, p.scale, sums)
            if p.scale != 0:
                backward_block(net, p.W, &b, sums)
        sums.is_first = False


cdef void add_chunk(void *what, Py_ssize_t chunk, Py_ssize_t thread) noexcept nogil:
    cdef Pass *p = <Pass *> what
    cdef const Network *net = p.net
    cdef Partial *sums = &p.parts[chunk]
    cdef Py_ssize_t first = p.first + chunk * p.chunk
    memset(sums.loss_lanes, 0, net.m * LANES * sizeof(double))
    sums.gradient_lanes = p.lanes[thread]
    sums.is_first = True
    add_rows(p, first, min(first + p.chunk, p.last), &p.buffers[thread], sums)
    if p.scale != 0:
        finish_gradient(net, p.W, sums)


cdef void predict_chunk(void *what, Py_ssize_t chunk, Py_ssize_t thread) noexcept nogil:
    cdef Pass *p = <Pass *> what
    cdef const Network *net = p.net
    cdef Weights weights = native_weights(net, p.W)
    cdef Block b
    cdef Py_ssize_t first = p.first + chunk * p.chunk
    cdef Py_ssize_t i, rows, last = min(first + p.chunk, p.last)
    for i from first <= i < last by net.block:
        rows = min(net.block, last - i)
        b = load_block(net, p.data, NULL, i, rows, <real *> p.buffers[thread].X, &p.buffers[thread])
        forward_block(net, &weights, &b)
        store_outputs(net, &b, p.E + i * net.m)


cdef inline void store_outputs(const Network *net, const Block *b, real *E) noexcept nogil:
    cdef Py_ssize_t i, o
    for o in range(net.m):
        for i in range(b.rows):
            E[i * net.m + o] = b.F[o * net.block + i]


cdef void finish_gradient(const Network *net, const real *W, Partial *sums) noexcept nogil:
    """Add up the lanes; for one output, multiply dW1 and db1 by W2 (fast_single_output.pxi)."""
    cdef vec v[LANES]
    cdef real *g = sums.gradient
    cdef real *to = g if net.narrow else g + net.b2
    cdef Py_ssize_t i, j, k, count = net.size if net.narrow else net.m
    for i from 0 <= i < count by LANES:
        for j in range(LANES):
            v[j] = load(sums.gradient_lanes + (i + j) * LANES)
        store(to + i, transpose_sum(v))
    if net.m == 1 and net.narrow:
        for k in range(net.d + 1):
            for j in range(net.h):
                g[k * net.h + j] *= W[net.W2 + j]
    elif net.m == 1:
        for j from 0 <= j < net.width by LANES:
            for k in range(net.d):
                store(g + j * net.d + k * LANES, load(g + j * net.d + k * LANES) * load(W + net.W2 + j))
            store(g + net.b1 + j, load(g + net.b1 + j) * load(W + net.W2 + j))


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


cdef double flops_per_row(const Network *net) noexcept nogil:
    """What a row costs, in floating-point operations (and 20 for being a row)."""
    return 20.0 + 4.0 * net.d * net.h + 6.0 * net.h * net.m


cdef Py_ssize_t chunk_rows(const Network *net, Py_ssize_t rows) noexcept nogil:
    """Rows in a chunk, whole blocks."""
    cdef double cost = flops_per_row(net)
    cdef double chunk = max(<double> rows / CHUNKS_PER_PASS, MIN_CHUNK_FLOPS / cost)
    chunk = max(min(chunk, FLOPS_BETWEEN_SIGNAL_CHECKS / cost), 1)
    return up_to_multiple(<Py_ssize_t> min(chunk, rows), net.block)


cdef struct Buffers:         # what passes work in
    Network net
    real *W                 # (size,) the parameters
    Partial sums               # of all chunks
    Py_ssize_t threads
    Py_ssize_t count        # of parts
    Partial parts[MAX_PARTIALS]
    Block buffers[THREADS]
    real *lanes[THREADS]


cdef char *allocate(Buffers *memory, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, Py_ssize_t rows,
                    Py_ssize_t threads) noexcept nogil:
    """Memory for passes of at most so many rows: one allocation, returned to be freed; or NULL."""
    cdef char *arena
    memory.net = network(d, h, m, rows)
    memory.threads = threads
    memory.count = MAX_PARTIALS if threads > 1 else 1
    arena = <char *> PyMem_RawCalloc(lay_out(memory, NULL) + 64, 1)
    if arena != NULL:
        lay_out(memory, <char *> up_to_multiple(<uintptr_t> arena, 64))
    return arena


cdef Py_ssize_t lay_out(Buffers *memory, char *base) noexcept nogil:
    """Lay the arrays out from `base` on, each on a cache line; return their total size in bytes."""
    cdef Network *net = &memory.net
    cdef Block *b
    cdef Py_ssize_t i, used = 0
    cdef Py_ssize_t lanes = net.size if net.narrow else up_to_multiple(net.m, LANES)
    used = bump(<void **> &memory.W, base, used, net.size * sizeof(real))
    used = lay_out_partial(net, &memory.sums, base, used)
    for i in range(memory.count):
        used = lay_out_partial(net, &memory.parts[i], base, used)
    for i in range(memory.threads):
        b = &memory.buffers[i]
        used = bump(<void **> &b.X, base, used, net.block * (net.d + net.m + 1) * sizeof(real))
        used = bump(<void **> &b.C, base, used, net.block * net.width * sizeof(real))
        used = bump(<void **> &b.F, base, used, net.block * net.m * sizeof(real))
        used = bump(<void **> &memory.lanes[i], base, used, lanes * sizeof(vec))
    return used


cdef Py_ssize_t lay_out_partial(const Network *net, Partial *sums, char *base,
                                Py_ssize_t used) noexcept nogil:
    used = bump(<void **> &sums.loss_lanes, base, used, net.m * LANES * sizeof(double))
    return bump(<void **> &sums.gradient, base, used, net.size * sizeof(real))


cdef inline Py_ssize_t bump(void **pointer, char *base, Py_ssize_t used, Py_ssize_t size) noexcept nogil:
    pointer[0] = base + used
    used += up_to_multiple(size, 64)
    if base != NULL:
        poison(base + used, REDZONE)
    return used + REDZONE


cdef Pass make_pass(Buffers *memory, const Dataset *data, const int64_t *order, Py_ssize_t first,
                    Py_ssize_t last, Py_ssize_t chunk, double scale, real *E) noexcept nogil:
    """A pass over rows first..last; its sums begin with the first of its chunks."""
    memory.sums.is_first = True
    return Pass(&memory.net, memory.W, data, order, first, last, chunk, scale, E,
                &memory.buffers[0], &memory.lanes[0], &memory.parts[0])


cdef Py_ssize_t next_chunks(const Buffers *memory, const Pass *p) noexcept nogil:
    """How many chunks are next: at most as many as there are parts."""
    return min(ceiling(p.last - p.first, p.chunk), memory.count)


cdef struct Reduction:         # gradients of chunks, which are to be added to that of all
    real *gradient
    const Partial *parts
    Py_ssize_t first, last, size


cdef Reduction reduce_losses_and_plan(Buffers *memory, const Pass *p, Py_ssize_t chunks) noexcept nogil:
    """Add what stands in the parts for a pass's next chunks, but for the gradients: return those.

    The gradient begins with that of the first chunk of a pass; H goes on from pass to pass.
    """
    cdef Partial *sums = &memory.sums
    cdef Partial *part = &memory.parts[0]
    cdef Py_ssize_t c, i, first = 0
    for c in range(chunks):
        for i in range(memory.net.m * LANES):
            sums.loss_lanes[i] += memory.parts[c].loss_lanes[i]
    if sums.is_first:  # that one stays where it is, and the part gets the other's place
        sums.gradient, part.gradient = part.gradient, sums.gradient
        first = 1
    sums.is_first = False
    return Reduction(sums.gradient, part, first, chunks if p.scale != 0 else 0, memory.net.size)


cdef Py_ssize_t n_slices(const Reduction *a) noexcept nogil:
    return ceiling(a.size, REDUCTION_SLICE) if a.first < a.last else 0


cdef void reduce_slice(void *what, Py_ssize_t stretch, Py_ssize_t thread) noexcept nogil:
    """A stretch of the gradient: it stays in cache while the chunks pass by, in their order."""
    cdef Reduction *a = <Reduction *> what
    cdef Py_ssize_t c, i, begin = stretch * REDUCTION_SLICE, end = min(begin + REDUCTION_SLICE, a.size)
    for c in range(a.first, a.last):
        for i from begin <= i < end by LANES:
            store(a.gradient + i, load(a.gradient + i) + load(a.parts[c].gradient + i))


cdef class Workspace:
    """The memory of a network's passes, and those who make them."""
    cdef Buffers memory
    cdef ThreadTeam team
    cdef char *arena

    def __cinit__(self, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, Py_ssize_t rows, Py_ssize_t threads):
        """For passes of at most so many rows."""
        cdef Network net = network(d, h, m, rows)
        self.team = ThreadTeam(threads if rows * flops_per_row(&net) >= MIN_THREADED_FLOPS else 1)
        self.arena = allocate(&self.memory, d, h, m, rows, self.team.size)
        if self.arena == NULL:
            raise MemoryError(f"no memory for the workspace of a network of sizes {(d, h, m)}")

    def __dealloc__(self):
        PyMem_RawFree(self.arena)

    cdef Py_ssize_t run_next_chunks(self, Pass *p) noexcept nogil:
        """Add the sums of a pass's next chunks; return their rows."""
        cdef Py_ssize_t chunks = next_chunks(&self.memory, p), rows = min(p.last - p.first, chunks * p.chunk)
        cdef Reduction adding
        self.team.run(add_chunk, p, chunks)
        adding = reduce_losses_and_plan(&self.memory, p, chunks)
        self.team.run(reduce_slice, &adding, n_slices(&adding))
        p.first += rows
        return rows

    cdef Py_ssize_t predict_next_chunks(self, Pass *p) noexcept nogil:
        """Write the outputs of a pass's next chunks; return their rows."""
        cdef Py_ssize_t chunks = next_chunks(&self.memory, p), rows = min(p.last - p.first, chunks * p.chunk)
        self.team.run(predict_chunk, p, chunks)
        p.first += rows
        return rows


cdef Dataset dataset(const Network *net, cnp.ndarray X, cnp.ndarray Y, cnp.ndarray w) except *:
    """The rows of X (n, d), with their targets Y (n, m) and weights w (n,), if there are any."""
    cdef Py_ssize_t n = X.shape[0]
    return Dataset(n, data_of(X, n * net.d), data_of(Y, n * net.m), data_of(w, n), NULL)


cdef int check_signals(double *worked, double operations) except -1 nogil:
    """Look at the signals now and then; a handler's exception ends the call."""
    worked[0] += operations
    if worked[0] >= FLOPS_BETWEEN_SIGNAL_CHECKS:
        worked[0] = 0
        with gil:
            PyErr_CheckSignals()
    return 0


def forward(cnp.ndarray X, cnp.ndarray W1, cnp.ndarray W2, cnp.ndarray out, Py_ssize_t threads):
    """Write E for X (n, d), W1 (d+1, h), W2 (h+1, m) into out (n, m)."""
    cdef Workspace work = Workspace(X.shape[1], W1.shape[1], W2.shape[1], X.shape[0], threads)
    cdef Network *net = &work.memory.net
    cdef Dataset rows = Dataset(X.shape[0], data_of(X, X.shape[0] * net.d), NULL, NULL, NULL)
    cdef real *E = data_of(out, rows.n * net.m)
    cdef Pass p = make_pass(&work.memory, &rows, NULL, 0, rows.n, chunk_rows(net, rows.n), 0, E)
    cdef const real *w1 = data_of(W1, (net.d + 1) * net.h)
    cdef const real *w2 = data_of(W2, (net.h + 1) * net.m)
    cdef double worked = 0
    with work.team, nogil:
        pack(net, w1, w2, work.memory.W)
        while p.first < p.last:
            check_signals(&worked, flops_per_row(net) * work.predict_next_chunks(&p))


cdef bint are_few(Py_ssize_t rows, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m) noexcept nogil:
    """Whether it pays to predict with the weights as they are."""
    cdef Network net
    net.d, net.h, net.m = d, h, m
    return rows <= MAX_SMALL_BATCH and rows * flops_per_row(&net) <= MIN_CHUNK_FLOPS


cdef int forward_few(const real *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, const real *X,
                     Py_ssize_t n, real *E) noexcept nogil:
    """E of a few rows, straight from a network's parameters; -1 where there is no memory."""
    cdef real on_stack[STACK_SCRATCH]
    cdef real *scratch = on_stack
    cdef Dataset rows = Dataset(n, X, NULL, NULL, NULL)
    cdef Network net
    cdef Weights w
    cdef Block b
    cdef Py_ssize_t i, size
    if n <= MAX_ROW_BY_ROW and is_narrow(h):
        for i in range(n):
            forward_row(parameters, d, h, m, X + i * d, E + i * m)
        return 0
    net = network(d, h, m, n)
    size = net.block * (d + net.width + m) + net.width * m
    if size > STACK_SCRATCH:
        scratch = <real *> PyMem_RawMalloc(size * sizeof(real))
        if scratch == NULL:
            return -1
    w = plain_weights(&net, parameters, scratch)
    b.C = scratch + net.width * m
    b.F = b.C + net.block * net.width
    b = load_block(&net, &rows, NULL, 0, n, b.F + net.block * m, &b)
    forward_block(&net, &w, &b)
    store_outputs(&net, &b, E)
    if scratch != on_stack:
        PyMem_RawFree(scratch)
    return 0


def predict_few(X, cnp.ndarray parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m):
    """The predictions for a few rows, straight from a network's parameters; None for anything else.

    For a small network the checks, the copy of the weights and the memory of a pass cost more than its
    arithmetic. So this asks, in C, whether X can be used as it is and is small; whatever is not goes the
    long way, which also has the error messages. The bits are the same.
    """
    cdef cnp.ndarray array, out
    cdef cnp.npy_intp shape[2]
    if not cnp.PyArray_CheckExact(X):
        return None
    array = X
    if (
        cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(parameters) or cnp.PyArray_NDIM(array) != 2
        or not cnp.PyArray_ISCARRAY_RO(array) or cnp.PyArray_DIM(array, 1) != d
        or not 0 < cnp.PyArray_DIM(array, 0) or not are_few(cnp.PyArray_DIM(array, 0), d, h, m)
    ):
        return None
    shape[0], shape[1] = cnp.PyArray_DIM(array, 0), m
    out = cnp.PyArray_EMPTY(1 if m == 1 else 2, shape, cnp.PyArray_TYPE(parameters), 0)
    if forward_few(data_of(parameters, (d + 1) * h + (h + 1) * m), d, h, m,
                   <real *> cnp.PyArray_DATA(array), shape[0], <real *> cnp.PyArray_DATA(out)):
        raise MemoryError("no memory for a prediction")
    return out


cdef double mean_square(const Buffers *memory, double weight) noexcept nogil:
    """L, after passes over rows of this total weight."""
    cdef double H = 0
    cdef Py_ssize_t o
    for o in range(memory.net.m):
        H += sum_lanes(memory.sums.loss_lanes + o * LANES)
    return H / (memory.net.m * weight)


def loss_and_gradients(cnp.ndarray X, cnp.ndarray Y, cnp.ndarray w, cnp.ndarray W1,
                       cnp.ndarray W2, cnp.ndarray dW1, cnp.ndarray dW2, Py_ssize_t threads):
    """L as a float; the gradients into dW1 and dW2, unless they are None."""
    cdef Workspace work = Workspace(X.shape[1], W1.shape[1], W2.shape[1], X.shape[0], threads)
    cdef Buffers *memory = &work.memory
    cdef Network *net = &memory.net
    cdef Dataset rows = dataset(net, X, Y, w)
    cdef const real *w1 = data_of(W1, (net.d + 1) * net.h)
    cdef const real *w2 = data_of(W2, (net.h + 1) * net.m)
    cdef real *g1 = data_of(dW1, (net.d + 1) * net.h)
    cdef real *g2 = data_of(dW2, (net.h + 1) * net.m)
    cdef double weight, worked = 0
    cdef Pass p
    with work.team, nogil:
        pack(net, w1, w2, memory.W)
        weight = total_weight(&rows, NULL, 0, rows.n)
        p = full_pass(memory, &rows, weight, g1 != NULL)
        while p.first < p.last:
            check_signals(&worked, flops_per_row(net) * work.run_next_chunks(&p))
        if g1 != NULL:
            unpack(net, memory.sums.gradient, g1, g2)
    return mean_square(memory, weight)


cdef Pass full_pass(Buffers *memory, const Dataset *rows, double weight, bint gradient) noexcept nogil:
    """A pass over all rows, for the loss and, where asked for, its gradient."""
    cdef double scale = 2 / (memory.net.m * weight) if gradient else 0
    return make_pass(memory, rows, NULL, 0, rows.n, chunk_rows(&memory.net, rows.n), scale, NULL)


# What fastmlp.capi hands on: without the GIL, from C pointers, on the caller's thread.

cdef int predict_rows(const real *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, const real *X,
                      Py_ssize_t n, real *E) noexcept nogil:
    """E (n, m); -1 where there is no memory."""
    cdef Buffers memory
    cdef char *arena
    cdef Dataset rows
    cdef Pass p
    if are_few(n, d, h, m):
        return forward_few(parameters, d, h, m, X, n, E)
    arena = allocate(&memory, d, h, m, n, 1)
    if arena == NULL:
        return -1
    rows = Dataset(n, X, NULL, NULL, NULL)
    pack(&memory.net, parameters, parameters + (d + 1) * h, memory.W)
    p = make_pass(&memory, &rows, NULL, 0, n, n, 0, E)
    predict_chunk(&p, 0, 0)
    PyMem_RawFree(arena)
    return 0


cdef int loss_and_gradients_of_rows(
        const real *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, const real *X, const real *Y,
        const real *w, Py_ssize_t n, double *loss, real *gradients) noexcept nogil:
    """L and, unless it is NULL, its gradient as one flat array; -1 where there is no memory."""
    cdef Buffers memory
    cdef char *arena = allocate(&memory, d, h, m, n, 1)
    cdef Dataset rows = Dataset(n, X, Y, w, NULL)
    cdef double weight
    cdef Py_ssize_t i
    cdef Reduction adding
    cdef Pass p
    if arena == NULL:
        return -1
    pack(&memory.net, parameters, parameters + (d + 1) * h, memory.W)
    weight = total_weight(&rows, NULL, 0, n)
    p = full_pass(&memory, &rows, weight, gradients != NULL)
    while p.first < p.last:
        add_chunk(&p, 0, 0)
        adding = reduce_losses_and_plan(&memory, &p, 1)
        for i in range(n_slices(&adding)):
            reduce_slice(&adding, i, 0)
        p.first += p.chunk
    if gradients != NULL:
        unpack(&memory.net, memory.sums.gradient, gradients, gradients + (d + 1) * h)
    loss[0] = mean_square(&memory, weight)
    PyMem_RawFree(arena)
    return 0


predict_pointer = PyCapsule_New(<void *> predict_rows, NULL, NULL)
loss_and_gradients_pointer = PyCapsule_New(<void *> loss_and_gradients_of_rows, NULL, NULL)
