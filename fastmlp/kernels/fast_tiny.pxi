# A block of a network of at most 4 features, 4 ReLU units and one output with squared error: every sum in a
# register.
#
# Nothing but X and Y is read, and nothing is written before the end of the block. 3-4-1 has 22 sums: with x
# and a that is what AVX-512's 32 registers hold (3-4-1, 100000 rows: 92 GF/s, single_output 72). With 16
# registers the sums go to memory and back, and single_output is faster (54 and 62).

cdef enum:
    TINY = 4
    TINY_BLOCK = 2048       # rows
    AHEAD = 2048            # rows: of 10**7 rows 3-4-1 each then takes 1.12 ns instead of 1.29


cdef bint tiny_applies(const Network *net) noexcept nogil:
    return (
        VECTOR_REGISTERS >= 32 and net.layout == ROWS_IN_LANES and net.n_layers == 2 and net.n_out == 1
        and net.n_in <= TINY and net.layers[0].n_out <= TINY and net.layers[0].activation == RELU
        and net.objective.loss == SQUARED_ERROR
    )


cdef inline void tiny_tile(int d, int h, const Network *net, const real *W, const Block *b,
                           double scale, Partial *part) noexcept nogil:
    """Forward, residual and backward for d features and h units; inlined with constants for both."""
    cdef vec dW1[16]
    cdef vec db1[4]
    cdef vec dW2[4]
    cdef vec x[4]
    cdef vec c[4]
    cdef vec e, f, wf, g, H, db2
    cdef vec factor = broadcast(<real> scale)
    cdef const real *W2 = W + net.layers[1].weight_offset
    cdef real *to = part.gradient_lanes
    cdef Py_ssize_t i
    cdef int j, k
    H = db2 = broadcast(0)
    for j in range(h):
        db1[j] = dW2[j] = broadcast(0)
        for k in range(d):
            dW1[k * h + j] = broadcast(0)
    for i from 0 <= i < b.rows by LANES:
        for k in range(d):
            x[k] = load(b.X + i * d + k * LANES)
            prefetch(b.X + (i + AHEAD) * d + k * LANES)
        prefetch(b.Y + i + AHEAD)
        for j in range(h):
            c[j] = broadcast(W[d * h + j])
            for k in range(d):
                c[j] = c[j] + W[k * h + j] * x[k]
            c[j] = relu(c[j])
        # two short chains of sums: what follows waits for E
        e = W2[0] * c[0]
        f = broadcast(W2[h]) - load(b.Y + i)
        for j in range(1, h):
            if j % 2:
                f = f + W2[j] * c[j]
            else:
                e = e + W2[j] * c[j]
        f = f + e
        wf = f
        if b.w != NULL:  # a row of weight 0 is selected out
            f = relu_backward(load(b.w + i), f)
            wf = load(b.w + i) * f
        if b.rows - i < LANES:
            f, wf = mask_tail(f, b.rows - i), mask_tail(wf, b.rows - i)
        H = H + wf * f
        db2 = db2 + wf
        for j in range(h):
            dW2[j] = dW2[j] + c[j] * wf
            g = relu_backward(c[j], wf)
            db1[j] = db1[j] + g
            for k in range(d):
                dW1[k * h + j] = dW1[k * h + j] + x[k] * g
    add_to_lanes(part.loss_lanes, H)
    for j in range(h):
        for k in range(d):
            accumulate(part.is_first, to + (k * h + j) * LANES, factor * dW1[k * h + j])
        accumulate(part.is_first, to + (d * h + j) * LANES, factor * db1[j])
        accumulate(part.is_first, to + (d * h + h + j) * LANES, factor * dW2[j])
    accumulate(part.is_first, to + (d * h + 2 * h) * LANES, factor * db2)


cdef inline void tiny_units(int d, const Network *net, const real *W, const Block *b, double scale,
                            Partial *part) noexcept nogil:
    if net.layers[0].n_out == 1:
        tiny_tile(d, 1, net, W, b, scale, part)
    elif net.layers[0].n_out == 2:
        tiny_tile(d, 2, net, W, b, scale, part)
    elif net.layers[0].n_out == 3:
        tiny_tile(d, 3, net, W, b, scale, part)
    else:
        tiny_tile(d, 4, net, W, b, scale, part)


cdef void tiny_block(const Network *net, const real *W, const Block *b, double scale,
                     Partial *part) noexcept nogil:
    if net.n_in == 1:
        tiny_units(1, net, W, b, scale, part)
    elif net.n_in == 2:
        tiny_units(2, net, W, b, scale, part)
    elif net.n_in == 3:
        tiny_units(3, net, W, b, scale, part)
    else:
        tiny_units(4, net, W, b, scale, part)
