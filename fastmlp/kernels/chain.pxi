# A block through the chain of layers: forward, and back.

cdef inline void forward_block(const Network *net, const Weights *w, Block *b,
                               bint with_slopes) noexcept nogil:
    """z_L, the raw outputs; with the derivatives of activations, where the way back needs them."""
    cdef int l
    if net.fast.forward != NULL:
        net.fast.forward(net, w, b)
        return
    for l in range(net.n_layers):
        if net.layout == ROWS_IN_LANES:
            forward_rows(net, l, &w[l], b, with_slopes)
        else:
            forward_units(net, l, &w[l], b, with_slopes)


cdef inline void backward_block(const Network *net, const real *W, const real *transposed, Block *b,
                                Partial *part) noexcept nogil:
    """The gradient, from the delta of the last layer, which the objective has left in b.z."""
    cdef int l
    if net.fast.backward != NULL:
        net.fast.backward(net, W, b, part)
    elif net.layout == ROWS_IN_LANES:
        for l in range(net.n_layers - 1, -1, -1):
            weight_gradient_rows(net, l, b, part)
            if not is_last(net, l):
                bias_gradient_rows(net, l, b, part)
            if l > 0:
                input_gradient_rows(net, l, W, b)
    else:
        for l in range(net.n_layers - 2, -1, -1):
            backward_units(net, l, W, transposed, b, part)


cdef void gradient_of_block(const Network *net, const Weights *w, const real *W, const real *transposed,
                            Block *b, double scale, Partial *part) noexcept nogil:
    """Add a block's losses and, unless the scale of its slopes is 0, its gradient."""
    if scale != 0 and net.fast.gradient != NULL:
        net.fast.gradient(net, W, b, scale, part)
    else:
        forward_block(net, w, b, scale != 0)
        net.objective.block(net, b, scale, part)
        if scale != 0:
            backward_block(net, W, transposed, b, part)
    part.is_first = False


cdef inline real *bias_lanes(const Network *net, Partial *part) noexcept nogil:
    """Where the lanes of the gradient of the last bias row are."""
    if net.layout == ROWS_IN_LANES:
        return part.gradient_lanes + net.layers[net.n_layers - 1].bias_offset * LANES
    return part.gradient_lanes


cdef void finish_gradient(const Network *net, const real *W, Partial *part) noexcept nogil:
    """Add up the lanes: rows in lanes, of the whole gradient; units in lanes, of the last bias row."""
    cdef vec v[LANES]
    cdef bint rows = net.layout == ROWS_IN_LANES
    cdef real *to = part.gradient + (0 if rows else net.layers[net.n_layers - 1].bias_offset)
    cdef Py_ssize_t i, j, count = net.size if rows else net.n_out
    for i from 0 <= i < count by LANES:
        for j in range(LANES):
            v[j] = load(part.gradient_lanes + (i + j) * LANES)
        store(to + i, transpose_sum(v))
    if net.fast.finish != NULL:
        net.fast.finish(net, W, part)
