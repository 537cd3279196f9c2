# A whole fit without the GIL: shuffle, batches, gradients, optimizer, validation, patience.

cdef enum Stop:
    RUNNING
    PATIENCE
    DIVERGED

cdef enum:
    CLOSING_ROWS = 1024
    MAX_EPOCHS_PER_CALL = 1024
    SHUFFLED_AT_ONCE = 1 << 20

# A loss this many times that of the start, or of predicting zero, does not come back.
cdef double DIVERGENCE_FACTOR = 1e12


cdef void shuffle(int64_t *order, Py_ssize_t first, Py_ssize_t last,
                  bitgen_t *bits) noexcept nogil:
    """The swaps i = last-1 .. first of Fisher and Yates, i > 0.

    From i = n-1 down to 1 it is reference.permutation: each index is drawn by Lemire's method,
    a product whose high half is the index; the few products that would favour an index are drawn
    again.
    """
    cdef uint64_t product
    cdef uint32_t low, size
    cdef Py_ssize_t i, j
    for i in range(last - 1, first - 1, -1):
        size = <uint32_t> i + 1
        product = <uint64_t> bits.next_uint32(bits.state) * size
        low = <uint32_t> product
        if low < size:
            while low < (<uint32_t> 0 - size) % size:
                product = <uint64_t> bits.next_uint32(bits.state) * size
                low = <uint32_t> product
        j = <Py_ssize_t> (product >> 32)
        order[i], order[j] = order[j], order[i]


cdef cnp.ndarray room(Py_ssize_t count):
    """An array with room for so many numbers from its first cache line on."""
    return cnp.PyArray_EMPTY(1, [count * sizeof(real) + 64], cnp.NPY_UINT8, 0)


cdef real *cache_line(cnp.ndarray array) noexcept:
    return <real *> up_to_multiple(<uintptr_t> cnp.PyArray_DATA(array), 64)


cdef class FitLoop:
    """One fit under way.

    It trains the arrays of a FitState and a Fit in place, writes what has happened into their fields and into
    a History, and gives the network what it has learnt (fastmlp/training/state.py has these classes). Each
    method is one step for signals: what Python raises for one, it raises after the method has returned, or
    where the method itself looks for signals; and what belongs together is written together.

    `best` holds the parameters of the lowest monitored loss: the validation loss, which is measured at the
    end of an epoch; without validation data the training loss, which is measured while the epoch runs, and
    speaks of the parameters at its start.
    """
    cdef Workspace work
    cdef Optimizer optimizer
    cdef Schedule schedule
    cdef bint constant_rate
    cdef Dataset rows, validation
    cdef object fit_state, fit, history     # FitState, Fit, History
    cdef list losses, validation_losses, seconds, monitored     # of the history
    cdef double epoch_losses[2][MAX_EPOCHS_PER_CALL]    # of one call of run: training, validation
    cdef double started                 # the clock at the start of the last call of run
    cdef tuple keep_alive               # the arrays behind the pointers
    cdef bitgen_t *bits                 # NULL: rows in their order
    cdef object lock                    # of the bit generator, where others may draw from it; else None
    cdef bint shared
    cdef int64_t *order                 # (n,)
    cdef Folding folding
    cdef real *network_parameters       # (n_parameters,) the network's own,
    cdef real *published                # (2, n_parameters) what it got last, and as it was trained
    cdef real *user_parameters          # (n_parameters,) of the Fit,
    cdef real *user_moments             # (2, n_parameters) of the FitState
    cdef real *user_best                # (n_parameters,) of the Fit; below, all as the kernels read them
    cdef real *parameters               # (size,)
    cdef real *moments                  # (2, size)
    cdef real *best                     # (size,)
    cdef real *epoch_start              # (size,) at the start of the epoch,
    cdef bint start_kept                # if it is so already, or not asked for
    cdef Py_ssize_t batch_size, chunk, patience, max_epochs
    cdef double flops_done, since_signals, weight_seen
    cdef double min_delta               # of the monitored loss; a smaller improvement does not count
    cdef bint judged_outside            # the monitored value is not a loss, and comes by `judge`
    cdef Stop state
    cdef Py_ssize_t epoch               # epochs done
    cdef Py_ssize_t best_epoch
    cdef double best_loss
    cdef Py_ssize_t improved_epoch      # the last whose loss fell by more than min_delta,
    cdef double improved_loss           # and that loss: patience counts from there
    cdef double divergence_threshold    # a loss above it does not come back

    def __init__(self, CompiledNetwork network, training, validation, state, fit, history, folding, *,
                 optimizer, schedule, batch_size, bit_generator, lock, baseline_loss, threads):
        cdef Py_ssize_t n, i
        cdef Network *net
        X, Y, w = training
        rows = max(len(X), 0 if validation is None else len(validation[0]))
        self.work = Workspace(network, TRAIN, min(batch_size, len(X)), threads, rows)
        net = &self.work.memory.net
        self.optimizer, self.schedule = optimizer, schedule
        self.constant_rate = self.schedule.shape == CONSTANT and self.schedule.warmup == 0
        self.rows = dataset(net, X, Y, w)
        n = self.rows.n
        self.batch_size = min(batch_size, n)
        order = blocks = None
        if bit_generator is not None and self.batch_size < n:
            order = cnp.PyArray_EMPTY(1, [n], cnp.NPY_INT64, 0)
            self.order = <int64_t *> cnp.PyArray_DATA(order)
            self.bits = <bitgen_t *> PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
            self.lock, self.shared = lock, lock is not None
        elif net.layout == ROWS_IN_LANES and self.batch_size == n:
            blocks = room(up_to_multiple(n, net.block) // net.block * block_size(net, &self.rows))
            self.load_all(cache_line(blocks))
        if validation is not None:
            Xv, Yv, wv = validation
            self.validation = dataset(net, Xv, Yv, wv)
        buffers = room(4 * net.size)
        self.network_parameters = data_of(state.network._parameters, net.n_parameters)
        self.user_parameters = data_of(fit.parameters, net.n_parameters)
        self.user_moments = data_of(state.moments, 2 * net.n_parameters)
        self.user_best = data_of(fit.best, net.n_parameters)
        if folding is not None:
            mean_x, scale_x, mean_y, scale_y, published = folding
            self.folding = Folding(
                doubles_of(mean_x, net.n_in), doubles_of(scale_x, net.n_in),
                doubles_of(mean_y, net.n_out), doubles_of(scale_y, net.n_out))
            self.published = data_of(published, 2 * net.n_parameters)
        self.parameters = self.work.memory.W
        self.moments = cache_line(buffers)
        self.best = self.moments + 2 * net.size
        self.epoch_start = self.best + net.size
        pack(net, self.user_parameters, self.parameters)
        for i in range(n_state_vectors(&self.optimizer)):
            memset(self.moments + i * net.size, 0, net.size * sizeof(real))
            pack(net, self.user_moments + i * net.n_parameters, self.moments + i * net.size)
        pack(net, self.user_best, self.best)
        self.keep_alive = (
            training, validation, state.network._parameters, fit.parameters, state.moments, fit.best, folding,
            buffers, order, blocks, bit_generator
        )
        self.fit_state, self.fit, self.history = state, fit, history
        self.losses, self.validation_losses = history.loss, history.validation_loss
        self.seconds, self.monitored = history.seconds, history.monitor
        self.max_epochs, self.patience = fit.epochs, fit.patience or 0
        self.min_delta, self.judged_outside = fit.min_delta, fit.monitored
        self.epoch, self.best_epoch, self.best_loss = fit.epoch, fit.best_epoch, fit.best_loss
        self.improved_epoch, self.improved_loss = fit.improved_epoch, fit.improved_loss
        self.divergence_threshold = (
            max(<double> fit.divergence_threshold, DIVERGENCE_FACTOR * <double> baseline_loss) or INFINITY)
        self.chunk = chunk_rows(net, self.batch_size)

    cdef int load_all(self, real *base) except -1:
        """Load every block once: the rows stay in their order, and all are in every batch."""
        cdef Network *net = &self.work.memory.net
        cdef Py_ssize_t i, n = self.rows.n
        with nogil:
            for i from 0 <= i < n by net.block:
                load_block(net, &self.rows, NULL, i, min(net.block, n - i),
                           base + i // net.block * block_size(net, &self.rows), self.work.memory.blocks)
                self.check_signals(20.0 * block_size(net, &self.rows))  # memory is read and written once
        self.rows.blocks = base
        return 0

    cdef void write_back(self) noexcept:
        """Give the trainer's arrays what the kernels have made of them."""
        cdef Py_ssize_t i
        cdef Network *net = &self.work.memory.net
        unpack(net, self.parameters, self.user_parameters)
        unpack(net, self.best, self.user_best)
        for i in range(n_state_vectors(&self.optimizer)):
            unpack(net, self.moments + i * net.size, self.user_moments + i * net.n_parameters)

    @property
    def learning_rate(self):
        """That of the optimizer, before the schedule's factor."""
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, double rate):
        self.optimizer.learning_rate = rate

    def run(self, Py_ssize_t epochs):
        """Train so many epochs, at most MAX_EPOCHS_PER_CALL, or until training ends or a signal may be due.

        Returns None or the reason to stop. Where a signal's handler raises, the parameters are those of the
        last whole step.
        """
        cdef Py_ssize_t e, before = self.epoch
        epochs = min(epochs, <Py_ssize_t> MAX_EPOCHS_PER_CALL)
        self.flops_done = self.since_signals = 0
        self.started = perf_counter()
        try:
            with nogil:
                for e in range(epochs):
                    if self.epoch == self.max_epochs or self.flops_done >= FLOPS_BETWEEN_SIGNAL_CHECKS:
                        break
                    self.run_epoch(&self.epoch_losses[0][e], &self.epoch_losses[1][e])
                    if self.state != RUNNING:
                        break
                if self.epoch == self.max_epochs and not self.is_sound():
                    self.state = DIVERGED
        finally:
            with nogil:
                send_home(&self.work.team)
            self.write_back()
            self.append_epochs(self.epoch - before)
            self.report()
        if self.state == DIVERGED:
            return "diverged"
        if self.state == PATIENCE:
            return "patience"
        return "epochs" if self.epoch == self.max_epochs else None

    cdef int append_epochs(self, Py_ssize_t new) except -1:
        """Add the new epochs to the history."""
        cdef Py_ssize_t e
        cdef object each = (<double> perf_counter() - self.started) / max(new, 1)  # one object for all
        for e in range(new):
            self.losses.append(self.epoch_losses[0][e])
            self.seconds.append(each)
            if self.validation.n:
                self.validation_losses.append(self.epoch_losses[1][e])
        return 0

    cdef int report(self) except -1:
        """Write how far the fit is into its objects."""
        fit = self.fit
        fit.epoch, fit.best_epoch, fit.best_loss = self.epoch, self.best_epoch, self.best_loss
        fit.improved_epoch, fit.improved_loss = self.improved_epoch, self.improved_loss
        fit.divergence_threshold = self.divergence_threshold
        self.history.best_epoch = self.best_epoch if self.best_epoch >= 0 else None
        self.fit_state.steps = self.optimizer.steps
        self.fit_state.velocity_rate = self.optimizer.velocity_rate
        return 0

    def judge(self, double value):
        """Take the value of a monitor for the last epoch; return "patience" if training ends there."""
        self.judge_epoch(value, self.epoch - 1)
        unpack(&self.work.memory.net, self.best, self.user_best)
        self.monitored.append(value)
        self.seconds[len(self.seconds) - 1] = perf_counter() - self.started
        self.report()
        return "patience" if self.state == PATIENCE else None

    def publish(self):
        """Give the network the parameters that are being trained."""
        cdef Network *net = &self.work.memory.net
        cdef Py_ssize_t n = net.n_parameters
        cdef const Layer *first = &net.layers[0]
        cdef const Layer *last = &net.layers[net.n_layers - 1]
        cdef real *raw = self.user_parameters
        if self.published != NULL:
            raw = self.published
            if memcmp(raw + n, self.user_parameters, n * sizeof(real)):
                memcpy(raw + n, self.user_parameters, n * sizeof(real))
                memcpy(raw, self.user_parameters, n * sizeof(real))
                fold_targets(raw + last.plain_offset, last.n_in, last.n_out, self.folding.mean_y,
                             self.folding.scale_y)
                fold_features(raw + first.plain_offset, first.n_in, first.n_out, self.folding.mean_x,
                              self.folding.scale_x)
        memcpy(self.network_parameters, raw, n * sizeof(real))
        self.fit_state.network._trained = True

    def is_published(self):
        """Whether the network has, to the bit, what `publish` has given it last."""
        cdef const real *raw = self.user_parameters if self.published == NULL else self.published
        cdef Py_ssize_t n = self.work.memory.net.n_parameters
        return memcmp(self.network_parameters, raw, n * sizeof(real)) == 0

    def finish(self):
        """Leave state, history and network as the end of a fit wants them.

        Where a signal comes while the loss of the last weights is measured, the best ones are restored.
        """
        cdef Py_ssize_t n = self.work.memory.net.n_parameters
        reason, error = self.history.stop_reason, None
        if self.patience or reason not in ("epochs", "callback"):
            try:
                last_is_best = self.last_is_best(reason)
            except BaseException as raised:
                last_is_best = False
                if isinstance(raised, KeyboardInterrupt):
                    self.history.stop_reason = "interrupted"
                else:
                    self.history.stop_reason, error = None, raised
            if not last_is_best:
                memcpy(self.user_parameters, self.user_best, n * sizeof(real))
        if self.state == DIVERGED:
            memset(self.user_moments, 0, 2 * n * sizeof(real))
            self.fit_state.steps = 0
        if self.judged_outside and len(self.monitored) < len(self.losses):  # a signal ended the monitor
            self.monitored.append(float("nan"))
        self.publish()
        if error is not None:
            raise error

    cdef bint last_is_best(self, reason) except -1:
        """Whether the last weights, which no epoch has measured, beat the best ones that one has."""
        if self.state == DIVERGED or reason is None or self.validation.n:
            return False
        if reason == "interrupted":  # by the rows that the epoch under way has seen
            return self.weight_seen and self.loss_so_far() <= self.best_loss and self.is_sound()
        return self.loss_of(&self.rows, self.rows.n) <= self.best_loss

    cdef void judge_epoch(self, double monitored, Py_ssize_t epoch) noexcept nogil:
        """Keep the parameters of the lowest monitored value, and count the epochs without an improvement."""
        if monitored < self.best_loss:
            self.best_loss = monitored
            self.best_epoch = epoch
            if self.validation.n:
                memcpy(self.best, self.parameters, self.work.memory.net.size * sizeof(real))
            else:
                self.best, self.epoch_start = self.epoch_start, self.best
        if monitored < self.improved_loss - self.min_delta:
            self.improved_loss = monitored
            self.improved_epoch = epoch
        elif self.patience and epoch - self.improved_epoch >= self.patience:
            self.state = PATIENCE

    cdef int run_epoch(self, double *loss, double *validation_loss) except -1 nogil:
        cdef Py_ssize_t i = 0, n = self.rows.n
        cdef double monitored = 0
        self.start_kept = self.validation.n > 0
        memset(self.work.memory.total.loss_lanes, 0, self.work.memory.net.n_out * LANES * sizeof(double))
        self.weight_seen = 0
        if self.order != NULL:
            self.shuffle_rows()
        while i < n:
            self.run_batch(i, min(i + self.batch_size, n))
            loss[0] = monitored = self.loss_so_far()
            if self.is_diverged(monitored):
                self.state = DIVERGED
                return 0
            i += self.batch_size
        if self.validation.n:
            validation_loss[0] = monitored = self.loss_of(&self.validation, self.validation.n)
            if self.is_diverged(monitored):
                self.state = DIVERGED
                return 0
        if not self.start_kept:  # there was no step
            memcpy(self.epoch_start, self.parameters, self.work.memory.net.size * sizeof(real))
        if not self.judged_outside:
            self.judge_epoch(monitored, self.epoch)
        self.epoch += 1
        self.weight_seen = 0
        return 0

    cdef int shuffle_rows(self) except -1 nogil:
        cdef Py_ssize_t i, first, last = self.rows.n
        for i in range(last):
            self.order[i] = i
        while last > 1:
            first = max(1, last - SHUFFLED_AT_ONCE)
            if self.shared:  # others may draw from the same generator, as NumPy does: under its lock
                with gil:
                    with self.lock, nogil:
                        shuffle(self.order, first, last, self.bits)
            else:
                shuffle(self.order, first, last, self.bits)
            self.check_signals(100.0 * (last - first))  # a swap of far rows costs some 100 operations
            last = first
        return 0

    cdef int run_batch(self, Py_ssize_t first, Py_ssize_t last) except -1 nogil:
        """One step of the optimizer on rows first..last of the order."""
        cdef Network *net = &self.work.memory.net
        cdef Optimizer *o = &self.optimizer
        cdef Step step
        cdef real *W = self.parameters
        cdef real *to = W
        cdef double l2, weight = total_weight(&self.rows, self.order, first, last)
        if weight == 0:
            return 0  # no row counts: nothing to learn from
        self.pass_over(&self.rows, self.order, first, last, self.chunk, slope_scale(&net.objective, weight))
        # the epoch's first step leaves the old parameters where they are: a copy would take 6 % of a step of
        # 784-256-10 with 256 rows
        if not self.start_kept:
            to = self.epoch_start
        step = Step(o, 1 if self.constant_rate else self.rate_factor(first), W, to,
                    self.work.memory.total.gradient, self.moments, self.moments + net.size, net.size)
        self.weight_seen += weight
        l2 = o.l2 + o.l2_over_weight / weight
        if l2 != 0:
            add_penalty(net, step.g, W, l2)
        if o.clip_norm != 0:
            clip(step.g, net.size, o.clip_norm)
        if self.epoch == 0 and first == 0:
            self.divergence_threshold = max(self.divergence_threshold, DIVERGENCE_FACTOR * self.loss_so_far())
        optimizer_step(&step, &self.work.team)
        if not self.start_kept:
            self.parameters, self.epoch_start, self.start_kept = to, W, True
            use_parameters(&self.work.memory, to)
        self.check_signals(20.0 * net.size)
        return 0

    cdef double rate_factor(self, Py_ssize_t first) noexcept nogil:
        """Of the learning rate, for the batch that begins with that row."""
        cdef double batches = ceiling(self.rows.n, self.batch_size)
        return schedule_factor(&self.schedule, self.epoch * batches + first // self.batch_size,
                               batches * self.max_epochs, self.epoch)

    cdef int pass_over(self, const Dataset *data, const int64_t *order, Py_ssize_t first, Py_ssize_t last,
                       Py_ssize_t chunk, double scale) except -1 nogil:
        """Add the losses of rows first..last and, unless `scale` is 0, set the gradient."""
        cdef Pass p = make_pass(&self.work.memory, data, order, first, last, chunk, scale)
        while p.first < p.last:
            self.check_signals(self.work.memory.net.flops_per_row * self.work.run_next_chunks(&p))
        return 0

    cdef double loss_of(self, const Dataset *data, Py_ssize_t rows) except? -1 nogil:
        """The loss of the first rows of a data set, at the parameters as they are."""
        cdef Network *net = &self.work.memory.net
        cdef double loss
        self.weight_seen = 0  # of the epoch, also if a signal ends this here
        memset(self.work.memory.total.loss_lanes, 0, net.n_out * LANES * sizeof(double))
        self.pass_over(data, NULL, 0, rows, chunk_rows(net, rows), 0)
        self.weight_seen = total_weight(data, NULL, 0, rows)
        loss = self.loss_so_far()
        self.weight_seen = 0
        return loss

    cdef double loss_so_far(self) noexcept nogil:
        """The mean loss of the rows seen, in the units of the raw targets; 0 where none counted."""
        return reported_loss(&self.work.memory.net, self.work.memory.total.loss_lanes, self.weight_seen)

    cdef bint is_diverged(self, double loss) noexcept nogil:
        return not isfinite(loss) or loss > self.divergence_threshold

    cdef bint is_sound(self) except -1 nogil:
        """Whether the last step, whose loss no epoch has measured, left the network sound."""
        return not self.is_diverged(self.loss_of(&self.rows, min(self.rows.n, CLOSING_ROWS)))

    cdef int check_signals(self, double operations) except -1 nogil:
        self.flops_done += operations
        return check_signals(&self.since_signals, operations)
