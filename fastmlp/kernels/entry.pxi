# Everything that Python or C can call, but for the training loop (fit.pxi).

from libc.stdint cimport uint8_t

cdef enum:
    STACK_SCRATCH = 8192    # bytes that a prediction may take there; malloc and free cost 20 ns


cdef class CompiledNetwork:
    """A network as the kernels know it: its layers and its objective. Parameters come with each call.

    `objective` is (name, link, n_targets, outputs_averaged, slope_factor, loss_factor, smoothing, parameters,
    output_weights), as fastmlp.objectives gives it; the last two are sequences of n_out numbers, or None.
    `allowed` has a bit for each fast path that may be used; `caches` are the bytes of a core's first and
    second level.
    """
    cdef Network net
    cdef char *block            # behind the pointers of net
    cdef readonly tuple sizes
    cdef readonly tuple fast_paths      # the names of those in use

    def __cinit__(self, tuple sizes, tuple activations, tuple objective, int allowed,
                  tuple caches):
        cdef int l, n = len(sizes) - 1, used
        cdef Py_ssize_t m = sizes[n], i
        cdef Objective *q = &self.net.objective
        cdef real *parameters
        cdef double *output_weights
        cdef Layer *layer
        cdef double number
        name, link, n_targets, averaged, slope_factor, loss_factor, smoothing, of_outputs, weights = objective
        self.sizes = sizes
        self.net.first_cache, self.net.second_cache = caches
        self.block = <char *> PyMem_RawCalloc(n * sizeof(Layer) + m * (sizeof(double) + sizeof(real)), 1)
        if self.block == NULL:
            raise MemoryError(f"no memory for a network of sizes {sizes}")
        self.net.n_layers, self.net.layers = n, <Layer *> self.block
        for l in range(n):
            layer = &self.net.layers[l]
            layer.n_in, layer.n_out = sizes[l], sizes[l + 1]
            if l < n - 1:
                layer.activation = ACTIVATIONS.index(activations[l])
                layer.slope_from_input = slope_needs_input(layer.activation)
        output_weights = <double *> (self.block + n * sizeof(Layer))
        parameters = <real *> (output_weights + m)
        for i in range(m):
            output_weights[i] = 1 if weights is None else weights[i]
            # by way of a double: Cython takes real for a float, and would narrow a Python number to that
            number = 0 if of_outputs is None else of_outputs[i]
            parameters[i] = <real> number
        q.loss, q.link = OBJECTIVES.index(name), LINKS.index(link)
        q.block = LOSSES[q.loss]
        q.n_targets, q.outputs_averaged = n_targets, averaged
        q.slope_factor, q.loss_factor = slope_factor, loss_factor
        number = smoothing
        q.smoothing = <real> number
        q.smoothed_share = <real> (number / (m if q.loss == LOG_LOSS else 2))
        q.output_weights, q.parameters = output_weights, NULL if of_outputs is None else parameters
        lay_out_parameters(&self.net)
        used = choose_fast_paths(&self.net, allowed)
        self.fast_paths = tuple([path for i, path in enumerate(FAST_PATHS) if used >> i & 1])

    def __dealloc__(self):
        PyMem_RawFree(self.block)

    @property
    def layout(self):
        """What the lanes of a vector are: "rows" or "units"."""
        return "rows" if self.net.layout == ROWS_IN_LANES else "units"

    @property
    def pointer(self):
        """A capsule with the pointer that the functions for C take; valid as long as this object is."""
        return PyCapsule_New(&self.net, "fastmlp.network", NULL)

    def predict(self, X, cnp.ndarray parameters, bint raw, Py_ssize_t n_threads):
        """The predictions for X (n, n_in), (n,) for one output, else (n, n_out); raw outputs where `raw`.

        None where X is not an array that can be used as it is: then it goes through the checks, which have
        the error messages, and comes back.
        """
        cdef cnp.ndarray array, out
        cdef cnp.npy_intp shape[2]
        cdef const real *W
        if not cnp.PyArray_CheckExact(X):
            return None
        array = X
        if (
            cnp.PyArray_NDIM(array) != 2 or cnp.PyArray_DIM(array, 1) != self.net.n_in
            or cnp.PyArray_DIM(array, 0) == 0 or not is_ours(array)
        ):
            return None
        shape[0], shape[1] = cnp.PyArray_DIM(array, 0), self.net.n_out
        out = cnp.PyArray_EMPTY(1 if self.net.n_out == 1 else 2, shape, cnp.PyArray_TYPE(array), 0)
        W = data_of(parameters, self.net.n_parameters)
        if n_threads == 1 and shape[0] * self.net.flops_per_row <= (
            # 128-1024-1, 6 rows: 20 to 26 us, and 40 to 57 where the weights are packed
            FLOPS_BETWEEN_SIGNAL_CHECKS if reads_unpacked(&self.net, shape[0]) else MIN_CHUNK_FLOPS
        ):
            if predict_rows(&self.net, W, <real *> cnp.PyArray_DATA(array), shape[0], not raw,
                            <real *> cnp.PyArray_DATA(out)):
                raise MemoryError("no memory for a prediction")
        else:
            self.predict_in_chunks(array, W, not raw, n_threads, out)
        return out

    cdef int predict_in_chunks(self, cnp.ndarray X, const real *parameters, bint with_link,
                               Py_ssize_t n_threads, cnp.ndarray out) except -1:
        cdef Dataset rows = Dataset(
            cnp.PyArray_DIM(X, 0), <real *> cnp.PyArray_DATA(X), NULL, NULL, NULL)
        cdef Workspace work = Workspace(self, PREDICT, rows.n, n_threads)
        cdef Network *net = &work.memory.net
        cdef Pass p = prediction_pass(&work.memory, &rows, chunk_rows(net, rows.n), with_link,
                                      <real *> cnp.PyArray_DATA(out))
        cdef double flops_done = 0
        with nogil:
            try:
                pack(net, parameters, work.memory.W)
                while p.first < p.last:
                    check_signals(&flops_done, pass_flops(net, False, work.predict_next_chunks(&p)))
            finally:
                send_home(&work.team)
        return 0

    def loss_and_gradients(self, cnp.ndarray X, cnp.ndarray Y, cnp.ndarray w, cnp.ndarray parameters,
                           cnp.ndarray gradient, Py_ssize_t n_threads):
        """The loss as a float; its gradient into `gradient` (n_parameters,), unless that is None."""
        cdef Py_ssize_t n = X.shape[0]
        cdef Workspace work = Workspace(self, LOSS if gradient is None else TRAIN, n, n_threads)
        cdef Buffers *memory = &work.memory
        cdef Network *net = &memory.net
        cdef Dataset rows = dataset(net, X, Y, w)
        cdef const real *W = data_of(parameters, net.n_parameters)
        cdef real *g = data_of(gradient, net.n_parameters)
        cdef double weight, flops_done = 0
        cdef Pass p
        with nogil:
            try:
                pack(net, W, memory.W)
                weight = total_weight(&rows, NULL, 0, n)
                p = full_pass(memory, &rows, weight, g != NULL)
                while p.first < p.last:
                    check_signals(&flops_done, pass_flops(net, g != NULL, work.run_next_chunks(&p)))
                if g != NULL:
                    unpack(net, memory.total.gradient, g)
            finally:
                send_home(&work.team)
        return reported_loss(net, memory.total.loss_lanes, weight)


cdef Dataset dataset(const Network *net, cnp.ndarray X, cnp.ndarray Y, cnp.ndarray w) except *:
    """The rows of X (n, n_in), with their targets Y (n, n_targets) and weights w (n,) or None."""
    cdef Py_ssize_t n = X.shape[0]
    return Dataset(n, data_of(X, n * net.n_in), data_of(Y, n * net.objective.n_targets), data_of(w, n), NULL)


cdef Pass full_pass(Buffers *memory, const Dataset *rows, double weight, bint gradient) noexcept nogil:
    """A pass over all rows, for the loss and, where asked for, its gradient."""
    cdef double scale = slope_scale(&memory.net.objective, weight) if gradient else 0
    return make_pass(memory, rows, NULL, 0, rows.n, chunk_rows(&memory.net, rows.n), scale)


# What fastmlp.capi hands on: without the GIL, from C pointers, on the caller's thread.

cdef int predict_rows(const void *network, const real *parameters, const real *X, Py_ssize_t n,
                      bint with_link, real *out) noexcept nogil:
    """Predictions (n, n_out); -1 where there is no memory."""
    cdef const Network *net = <const Network *> network
    cdef uint8_t on_stack[STACK_SCRATCH]
    cdef char *block = <char *> on_stack
    cdef Buffers memory
    cdef Dataset rows = Dataset(n, X, NULL, NULL, NULL)
    cdef Pass p
    cdef Py_ssize_t size
    if n <= MAX_ROW_BY_ROW and net.fast.row != NULL and scratch_size(net) + 64 <= STACK_SCRATCH:
        block = <char *> up_to_multiple(<uintptr_t> block, 64)
        predict_row_by_row(net, parameters, X, n, with_link, <real *> block, out)
        return 0
    size = measure(&memory, net, PREDICT, n, 1)
    if size > STACK_SCRATCH or REDZONE:  # the stack must not be left poisoned
        block = <char *> PyMem_RawMalloc(size)
        if block == NULL:
            return -1
    place(&memory, block)
    if reads_unpacked(net, n):
        use_unpacked(&memory, parameters)
    else:
        pack(net, parameters, memory.W)
    p = prediction_pass(&memory, &rows, n, with_link, out)
    predict_chunk(&p, 0, 0)
    if block != <char *> on_stack:
        PyMem_RawFree(block)
    return 0


cdef int loss_and_gradients_of_rows(const void *network, const real *parameters, const real *X, const real *Y,
                                    const real *w, Py_ssize_t n, double *loss,
                                    real *gradients) noexcept nogil:
    """The loss and, unless it is NULL, its gradient as one flat array; -1 where there is no memory."""
    cdef Buffers memory
    cdef char *block = allocate(&memory, <const Network *> network, TRAIN, n, 1)
    cdef Dataset rows = Dataset(n, X, Y, w, NULL)
    cdef double weight
    cdef Py_ssize_t i
    cdef Reduction reduction
    cdef Pass p
    if block == NULL:
        return -1
    pack(&memory.net, parameters, memory.W)
    weight = total_weight(&rows, NULL, 0, n)
    p = full_pass(&memory, &rows, weight, gradients != NULL)
    while p.first < p.last:
        add_chunk(&p, 0, 0)
        reduction = reduce_losses_and_plan(&memory, &p, 1)
        for i in range(n_slices(&reduction)):
            reduce_slice(&reduction, i, 0)
        p.first += p.chunk
    if gradients != NULL:
        unpack(&memory.net, memory.total.gradient, gradients)
    loss[0] = reported_loss(&memory.net, memory.total.loss_lanes, weight)
    PyMem_RawFree(block)
    return 0


predict_pointer = PyCapsule_New(<void *> predict_rows, "fastmlp.predict", NULL)
loss_and_gradients_pointer = PyCapsule_New(
    <void *> loss_and_gradients_of_rows, "fastmlp.loss_and_gradients", NULL)
