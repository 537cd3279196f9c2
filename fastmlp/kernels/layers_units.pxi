# A layer for a block, with units in the lanes of a vector.
#
# Hidden weights, a and gradients are stored panel by panel: a panel is one vector of units, and its rows (of
# a) or inputs (of W) follow one another. Stored row by row instead, neighbours in a panel would lie n_out
# apart, for a power of two in the same few sets of the cache. The last panel is padded; its unused lanes are
# zero in the weights, and in a and the gradients. The weights of the last layer lie with its inputs in the
# lanes.

cdef inline real *delta_units(const Network *net, int l, const Block *b) noexcept nogil:
    if net.layers[l].slope_from_input:
        return b.slopes[l]
    return b.a[l]


cdef void forward_units(const Network *net, int l, const Weights *w, Block *b,
                        bint with_slopes) noexcept nogil:
    """a_l = f(z_l), z_l = [a_{l-1}, 1] W_l."""
    if is_last(net, l):
        raw_outputs_units(net, w, b)
    else:
        forward_panels(net, l, w, b, with_slopes)


cdef void forward_panels(const Network *net, int l, const Weights *w, Block *b,
                         bint with_slopes) noexcept nogil:
    cdef const Layer *layer = &net.layers[l]
    cdef Py_ssize_t panels = layer.n_out_padded // LANES, panel = net.block * LANES
    cdef Py_ssize_t i, p
    cdef real *slopes
    cdef real *last = b.a[l] + (panels - 1) * panel
    cdef Gemm q = Gemm(
        rows=b.rows, columns=panels, terms=layer.n_in,
        a=b.X, a_i=layer.n_in, a_k=1,
        v=w.W, v_p=w.W_p, v_k=w.W_k,
        bias=w.bias, row_bias=NULL,
        out=b.a[l], out_i=LANES, out_p=panel,
        epilogue=APPLY_RELU if layer.activation == RELU else OVERWRITE)
    if l == 0 and not is_uneven(b.rows):
        # first, while GCC knows all of q: after a change of q.a below, 2 % more instructions (16-64-1)
        gemm_nn(q)
    elif l == 0:
        gemm_uneven(q, 0)
    else:
        q.a, q.a_i = b.a[l - 1], LANES
        if is_uneven(b.rows):
            gemm_uneven(q, panel)
        else:
            gemm_grouped(q, panel)
    if layer.activation != RELU and layer.activation != IDENTITY:
        for p in range(panels):
            slopes = NULL
            if with_slopes and layer.slope_from_input:
                slopes = b.slopes[l] + p * panel
            activate(layer.activation, b.a[l] + p * panel, slopes, b.rows * LANES)
    if layer.n_out % LANES:
        # f(0) need not be 0, and an infinite x times the padding's zero is NaN: out of the unused lanes
        for i in range(b.rows):
            store(last + i * LANES, mask_tail(load(last + i * LANES), layer.n_out % LANES))


cdef void raw_outputs_units(const Network *net, const Weights *w, Block *b) noexcept nogil:
    cdef Py_ssize_t i, o
    for o in range(net.n_out):
        for i from 0 <= i <= b.rows - LANES by LANES:
            output_rows(LANES, net, w, b, i, o)
        if b.rows % LANES:
            output_rows(b.rows % LANES, net, w, b, b.rows - b.rows % LANES, o)


cdef inline void output_rows(int rows, const Network *net, const Weights *w, Block *b,
                             Py_ssize_t i, Py_ssize_t o) noexcept nogil:
    """Raw output o for at most LANES rows from i on; in registers where `rows` is a constant."""
    cdef vec z[LANES]
    cdef vec weights
    cdef int last = net.n_layers - 1
    cdef const real *a = b.a[last - 1] + i * LANES
    cdef Py_ssize_t p
    cdef int r
    for r in range(LANES):
        z[r] = broadcast(0)
    for p in range(vectors(net.layers[last].n_in)):
        weights = load(w.W + (p * net.n_out + o) * LANES)
        for r in range(rows):
            z[r] = add_products(z[r], load(a + r * LANES), weights)
        a += net.block * LANES
    store(b.z + o * net.block + i, transpose_sum(z) + w.bias[o])


cdef void backward_units(const Network *net, int l, const real *W, const real *transposed, Block *b,
                         Partial *part) noexcept nogil:
    """For hidden layer l, from delta_{l+1}: dW_{l+1} += a_l' delta_{l+1}, delta_l, the last row of dW_l; and
    for the first layer the others, dW_0 += X' delta_0.

    Two panels at a time, whose a and delta stay in the first-level cache through all steps.
    """
    cdef Py_ssize_t p, panels = net.layers[l].n_out_padded // LANES
    for p from 0 <= p < panels by 2:
        weight_gradient_above(net, l, b, part, p, min(2, panels - p))
        input_gradient_panels(net, l, W, transposed, b, p, min(2, panels - p))
        bias_gradient_panels(net, l, b, part, p, min(2, panels - p))
        if l == 0:
            weight_gradient_of_X(net, b, part, p, min(2, panels - p), 0)


cdef void weight_gradient_above(const Network *net, int l, Block *b, Partial *part, Py_ssize_t p,
                                Py_ssize_t panels) noexcept nogil:
    """dW_{l+1} += a_l' delta_{l+1}, for the units of panels p .. p+panels of layer l."""
    cdef const Layer *above = &net.layers[l + 1]
    cdef Py_ssize_t i, j, units, step, panel = net.block * LANES
    cdef real *to = part.gradient + above.weight_offset
    cdef Epilogue epilogue = OVERWRITE if part.is_first else ACCUMULATE
    if is_last(net, l + 1):
        gemm_nn(Gemm(
            rows=net.n_out, columns=panels, terms=b.rows,
            a=b.z, a_i=net.block, a_k=1,
            v=b.a[l] + p * panel, v_p=panel, v_k=LANES,
            bias=NULL, row_bias=NULL,
            out=to + p * net.n_out * LANES, out_i=LANES, out_p=net.n_out * LANES, epilogue=epilogue))
        return
    for i in range(p, p + panels):
        units = min(<Py_ssize_t> LANES, above.n_in - i * LANES)
        step = even_rows(units)
        for j from 0 <= j < units by step:
            gemm_tn(Gemm(
                rows=min(step, units - j), columns=above.n_out_padded // LANES, terms=b.rows,
                a=b.a[l] + i * panel + j, a_i=1, a_k=LANES,
                v=delta_units(net, l + 1, b), v_p=panel, v_k=LANES,
                bias=NULL, row_bias=NULL,
                out=to + (i * LANES + j) * LANES, out_i=LANES, out_p=above.n_in * LANES, epilogue=epilogue))


cdef void input_gradient_panels(const Network *net, int l, const real *W, const real *transposed, Block *b,
                                Py_ssize_t p, Py_ssize_t panels) noexcept nogil:
    """delta_l = (delta_{l+1} W_{l+1}') f'(z_l); the bias row of W_{l+1} has no unit below it."""
    cdef const Layer *above = &net.layers[l + 1]
    cdef Py_ssize_t i, panel = net.block * LANES
    cdef real *out = delta_units(net, l, b) + p * panel
    cdef Epilogue epilogue = OVERWRITE
    for i in range(p, p + panels):
        epilogue = prepare_slopes(net, l, b.a[l] + i * panel, b.rows * LANES)
    if is_last(net, l + 1):
        gemm_tn(Gemm(
            rows=b.rows, columns=panels, terms=net.n_out,
            a=b.z, a_i=1, a_k=net.block,
            v=W + above.weight_offset + p * net.n_out * LANES, v_p=net.n_out * LANES, v_k=LANES,
            bias=NULL, row_bias=NULL,
            out=out, out_i=LANES, out_p=panel, epilogue=epilogue))
        return
    gemm_grouped(Gemm(
        rows=b.rows, columns=panels, terms=above.n_out,
        a=delta_units(net, l + 1, b), a_i=LANES, a_k=1,
        v=transposed + above.transposed_offset + p * above.n_out * LANES, v_p=above.n_out * LANES, v_k=LANES,
        bias=NULL, row_bias=NULL,
        out=out, out_i=LANES, out_p=panel, epilogue=epilogue), panel)


cdef void bias_gradient_panels(const Network *net, int l, Block *b, Partial *part, Py_ssize_t p,
                               Py_ssize_t panels) noexcept nogil:
    """The last row of dW_l += sum delta_l."""
    cdef const real *delta = delta_units(net, l, b)
    cdef real *to = part.gradient + net.layers[l].bias_offset
    cdef vec total
    cdef Py_ssize_t i, j
    for j in range(p, p + panels):
        total = broadcast(0)
        for i in range(b.rows):
            total = total + load(delta + j * net.block * LANES + i * LANES)
        accumulate(part.is_first, to + j * LANES, total)


cdef void weight_gradient_of_X(const Network *net, Block *b, Partial *part, Py_ssize_t p, Py_ssize_t panels,
                               Py_ssize_t first) noexcept nogil:
    """dW_0 += X' delta_0, for the features from the first on."""
    cdef Py_ssize_t panel = net.block * LANES
    if first == net.n_in:
        return
    gemm_tn(Gemm(
        rows=net.n_in - first, columns=panels, terms=b.rows,
        a=b.X + first, a_i=1, a_k=net.n_in,
        v=delta_units(net, 0, b) + p * panel, v_p=panel, v_k=LANES,
        bias=NULL, row_bias=NULL,
        out=part.gradient + (p * net.n_in + first) * LANES, out_i=LANES, out_p=net.n_in * LANES,
        epilogue=OVERWRITE if part.is_first else ACCUMULATE))
