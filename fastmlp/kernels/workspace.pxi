# The memory of passes: all sizes first, then one allocation, then pointers into it; and who makes the passes.

cdef enum Purpose:          # of a workspace, each needs what the one before needs
    PREDICT
    LOSS
    TRAIN

cdef struct Buffers:
    Network net
    Purpose purpose
    real *W                 # (size,) the packed parameters
    real *transposed        # (transposed_size,) the weights between hidden layers, for the input gradients
    Weights *weights        # (n_layers,) where they lie in W
    Partial total           # of all chunks
    Py_ssize_t n_threads, n_parts
    Partial parts[MAX_CHUNKS]
    Block blocks[THREADS]
    real *lanes[THREADS]


cdef Py_ssize_t measure(Buffers *memory, const Network *net, Purpose purpose, Py_ssize_t rows,
                        Py_ssize_t n_threads) noexcept nogil:
    """The bytes that passes of at most so many rows need."""
    memory.net = blocks_for(net, rows)
    memory.purpose = purpose
    memory.n_threads = n_threads
    memory.n_parts = 0 if purpose == PREDICT else MAX_CHUNKS if n_threads > 1 else 1
    return lay_out(memory, NULL) + 64


cdef void place(Buffers *memory, char *block) noexcept nogil:
    """Lay the arrays out in as many bytes as `measure` has said."""
    lay_out(memory, <char *> up_to_multiple(<uintptr_t> block, 64))
    clear_padding(&memory.net, memory.W)
    use_parameters(memory, memory.W)


cdef void use_parameters(Buffers *memory, real *W) noexcept nogil:
    """Have passes read the packed parameters at W (size,)."""
    cdef int l
    memory.W = W
    for l in range(memory.net.n_layers):
        memory.weights[l] = packed_weights(&memory.net, l, W)


cdef char *allocate(Buffers *memory, const Network *net, Purpose purpose, Py_ssize_t rows,
                    Py_ssize_t n_threads) noexcept nogil:
    """Memory for passes of at most so many rows: one allocation, returned to be freed; or NULL.

    Gradients begin as zeros, as what pads them must stay zero; a prediction writes all it reads.
    """
    cdef Py_ssize_t size = measure(memory, net, purpose, rows, n_threads)
    cdef char *block = <char *> (PyMem_RawMalloc(size) if purpose == PREDICT else PyMem_RawCalloc(size, 1))
    if block != NULL:
        place(memory, block)
    return block


cdef Py_ssize_t lay_out(Buffers *memory, char *base) noexcept nogil:
    """Lay the arrays out from `base` on, each on a cache line; return their total size in bytes."""
    cdef Network *net = &memory.net
    cdef Py_ssize_t i, used = 0
    cdef Py_ssize_t lanes = net.size if net.layout == ROWS_IN_LANES else up_to_multiple(net.n_out, LANES)
    used = bump(<void **> &memory.W, base, used, net.size * sizeof(real))
    used = bump(<void **> &memory.weights, base, used, net.n_layers * sizeof(Weights))
    used = bump(<void **> &memory.transposed, base, used,
                net.transposed_size * sizeof(real) if memory.purpose == TRAIN else 0)
    if memory.n_parts:
        used = lay_out_partial(memory, &memory.total, base, used)
    for i in range(memory.n_parts):
        used = lay_out_partial(memory, &memory.parts[i], base, used)
    for i in range(memory.n_threads):
        used = lay_out_block(memory, &memory.blocks[i], base, used)
        if memory.n_parts:  # the losses' deltas are added up also where no gradient is asked for
            used = bump(<void **> &memory.lanes[i], base, used, lanes * sizeof(vec))
    return used


cdef Py_ssize_t lay_out_partial(const Buffers *memory, Partial *part, char *base,
                                Py_ssize_t used) noexcept nogil:
    used = bump(<void **> &part.loss_lanes, base, used, memory.net.n_out * LANES * sizeof(double))
    return bump(<void **> &part.gradient, base, used,
                memory.net.size * sizeof(real) if memory.purpose == TRAIN else 0)


cdef Py_ssize_t lay_out_block(const Buffers *memory, Block *b, char *base, Py_ssize_t used) noexcept nogil:
    cdef const Network *net = &memory.net
    cdef const Layer *layer
    cdef Py_ssize_t numbers
    cdef real *ignored
    cdef int l
    numbers = net.n_in + (0 if memory.purpose == PREDICT else net.objective.n_targets + 1)
    used = bump(<void **> &b.X, base, used, net.block * numbers * sizeof(real))
    used = bump(<void **> &b.z, base, used, net.block * net.n_out * sizeof(real))
    used = bump(<void **> &b.a, base, used, net.n_layers * sizeof(real *))
    used = bump(<void **> &b.slopes, base, used, net.n_layers * sizeof(real *))
    for l in range(net.n_layers - 1):
        layer = &net.layers[l]
        numbers = net.block * layer.n_out_padded
        used = bump(<void **> (&b.a[l] if base != NULL else &ignored), base, used, numbers * sizeof(real))
        if not layer.slope_from_input or memory.purpose != TRAIN:
            numbers = 0
        used = bump(<void **> (&b.slopes[l] if base != NULL else &ignored), base, used,
                    numbers * sizeof(real))
    return used


cdef inline Py_ssize_t bump(void **pointer, char *base, Py_ssize_t used, Py_ssize_t size) noexcept nogil:
    pointer[0] = <void *> (<uintptr_t> base + used)
    if size == 0:
        return used
    used += up_to_multiple(size, 64)
    if base != NULL:
        poison(base + used, REDZONE)
    return used + REDZONE


cdef Pass make_pass(Buffers *memory, const Dataset *data, const int64_t *order, Py_ssize_t first,
                    Py_ssize_t last, Py_ssize_t chunk, double scale) noexcept nogil:
    """A pass over rows first..last for the losses and, unless the scale is 0, the gradient; its sums begin
    with the first of its chunks.
    """
    memory.total.is_first = True
    if scale != 0 and memory.net.transposed_size:
        transpose_weights(&memory.net, memory.W, memory.transposed)
    return Pass(&memory.net, memory.weights, memory.W, memory.transposed, data, order, first, last, chunk,
                scale, False, NULL, &memory.blocks[0], &memory.lanes[0], &memory.parts[0])


cdef Pass prediction_pass(Buffers *memory, const Dataset *data, Py_ssize_t chunk, bint with_link,
                          real *out) noexcept nogil:
    return Pass(&memory.net, memory.weights, memory.W, NULL, data, NULL, 0, data.n, chunk, 0,
                with_link, out, &memory.blocks[0], NULL, NULL)


cdef Reduction reduce_losses_and_plan(Buffers *memory, const Pass *p, Py_ssize_t chunks) noexcept nogil:
    """Sum the chunks' losses now; return the gradients still to be summed, for reduce_slice.

    The gradient begins with that of the first chunk of a pass; the losses go on from pass to pass.
    """
    cdef Partial *total = &memory.total
    cdef Partial *part = &memory.parts[0]
    cdef Py_ssize_t c, i, first = 0
    for c in range(chunks):
        for i in range(memory.net.n_out * LANES):
            total.loss_lanes[i] += memory.parts[c].loss_lanes[i]
    if total.is_first:  # adopt the first chunk's buffer by swapping the pointers
        total.gradient, part.gradient = part.gradient, total.gradient
        first = 1
    total.is_first = False
    return Reduction(total.gradient, part, first, chunks if p.scale != 0 else 0, memory.net.size)


cdef class CompiledNetwork


cdef class Workspace:
    """The memory of a network's passes, and the threads that make them."""
    cdef Buffers memory
    cdef Team team
    cdef char *block
    cdef CompiledNetwork network    # its memory is referred to

    def __cinit__(self, CompiledNetwork network, int purpose, Py_ssize_t rows, Py_ssize_t n_threads,
                  Py_ssize_t all_rows=0):
        """For passes of mostly so many rows, the longest over all_rows."""
        cdef double flops = pass_flops(&network.net, purpose == TRAIN, max(rows, all_rows))
        self.network = network
        make_team(&self.team, min(n_threads, threads_that_pay(flops)) if flops >= MIN_THREADED_FLOPS else 1)
        self.block = allocate(&self.memory, &network.net, <Purpose> purpose, rows, self.team.size)
        if self.block == NULL:
            raise MemoryError(f"no memory for the workspace of a network of sizes {network.sizes}")

    def __dealloc__(self):
        free_team(&self.team)
        PyMem_RawFree(self.block)

    cdef Py_ssize_t chunks_at_once(self, const Pass *p) noexcept nogil:
        """How many of a pass's next chunks can wait for each other, between two looks at the signals."""
        cdef double of_a_thread = 3 * FLOPS_BETWEEN_SIGNAL_CHECKS / pass_flops(p.net, True, p.chunk)
        return min(ceiling(p.last - p.first, p.chunk), self.team.size * max(1, <Py_ssize_t> of_a_thread))

    cdef Py_ssize_t run_next_chunks(self, Pass *p) noexcept nogil:
        """Add the sums of a pass's next chunks, at most as many as there are parts; return their rows."""
        cdef Py_ssize_t chunks = 1 if self.memory.n_parts == 1 else self.chunks_at_once(p)
        cdef Py_ssize_t rows = min(p.last - p.first, chunks * p.chunk)
        cdef Reduction r
        run_task(&self.team, add_chunk, p, chunks, pass_flops(p.net, p.scale != 0, rows))
        r = reduce_losses_and_plan(&self.memory, p, chunks)
        run_task(&self.team, reduce_slice, &r, n_slices(&r), FLOPS_OF_TRANSFER * (r.last - r.first) * r.size)
        p.first += rows
        return rows

    cdef Py_ssize_t predict_next_chunks(self, Pass *p) noexcept nogil:
        """Write the outputs of a pass's next chunks; return their rows."""
        cdef Py_ssize_t chunks = self.chunks_at_once(p)
        cdef Py_ssize_t rows = min(p.last - p.first, chunks * p.chunk)
        run_task(&self.team, predict_chunk, p, chunks, pass_flops(p.net, False, rows))
        p.first += rows
        return rows
