# A layer for a block, with rows in the lanes of a vector.
#
# X and a are stored vector by vector: one vector of rows, and in it its features (of X) or units (of a)
# follow one another; z, the raw outputs, the other way round. A weight is one number for all rows. A gradient
# is a sum over rows: each weight has a vector of sums, whose lanes are added up once, at the end of a chunk.

cdef struct Delta:          # dL/dz of a layer, in whichever array it lies
    real *d
    Py_ssize_t unit, rows   # strides from unit to unit, and from one vector of rows to the next


cdef inline Delta delta_rows(const Network *net, int l, const Block *b) noexcept nogil:
    if is_last(net, l):
        return Delta(b.z, net.block, LANES)
    if net.layers[l].slope_from_input:
        return Delta(b.slopes[l], LANES, net.layers[l].n_out * LANES)
    return Delta(b.a[l], LANES, net.layers[l].n_out * LANES)


cdef inline const real *input_rows(int l, const Block *b) noexcept nogil:
    """a_{l-1}."""
    if l == 0:
        return b.X
    return b.a[l - 1]


cdef void forward_rows(const Network *net, int l, const Weights *w, Block *b,
                       bint with_slopes) noexcept nogil:
    """a_l = f(z_l), z_l = [a_{l-1}, 1] W_l."""
    cdef const Layer *layer = &net.layers[l]
    cdef Py_ssize_t R = vectors(b.rows)
    cdef bint last = is_last(net, l)
    cdef bint is_relu = not last and layer.activation == RELU
    cdef real *out = b.z
    cdef real *slopes = NULL
    if not last:
        out = b.a[l]
        if with_slopes and layer.slope_from_input:
            slopes = b.slopes[l]
    gemm_tn(Gemm(
        rows=layer.n_out, columns=R, terms=layer.n_in,
        a=w.W, a_i=1, a_k=layer.n_out,
        v=input_rows(l, b), v_p=layer.n_in * LANES, v_k=LANES,
        bias=NULL, row_bias=w.bias,
        out=out, out_i=net.block if last else LANES, out_p=LANES if last else layer.n_out * LANES,
        epilogue=APPLY_RELU if is_relu else OVERWRITE))
    if not last and not is_relu:
        activate(layer.activation, out, slopes, R * layer.n_out * LANES)


cdef void weight_gradient_rows(const Network *net, int l, Block *b, Partial *part) noexcept nogil:
    """dW_l += a_{l-1}' delta_l."""
    cdef const Layer *layer = &net.layers[l]
    cdef Delta delta = delta_rows(net, l, b)
    cdef real *to = part.gradient_lanes + layer.weight_offset * LANES
    cdef const real *a = input_rows(l, b)
    cdef Epilogue epilogue = OVERWRITE if part.is_first else ACCUMULATE
    if is_last(net, l):  # the other way round, as v_p must be LANES
        gemm_lanewise(Gemm(
            rows=layer.n_out, columns=layer.n_in, terms=vectors(b.rows),
            a=delta.d, a_i=delta.unit, a_k=delta.rows,
            v=a, v_p=LANES, v_k=layer.n_in * LANES,
            bias=NULL, row_bias=NULL,
            out=to, out_i=LANES, out_p=layer.n_out * LANES, epilogue=epilogue))
        return
    gemm_lanewise(Gemm(
        rows=layer.n_in, columns=layer.n_out, terms=vectors(b.rows),
        a=a, a_i=LANES, a_k=layer.n_in * LANES,
        v=delta.d, v_p=delta.unit, v_k=delta.rows,
        bias=NULL, row_bias=NULL,
        out=to, out_i=layer.n_out * LANES, out_p=LANES, epilogue=epilogue))


cdef void bias_gradient_rows(const Network *net, int l, Block *b, Partial *part) noexcept nogil:
    """The last row of dW_l += sum delta_l, for a hidden layer; that of the last one is the objective's."""
    cdef Delta delta = delta_rows(net, l, b)
    cdef real *to = part.gradient_lanes + net.layers[l].bias_offset * LANES
    cdef vec total
    cdef Py_ssize_t j, r
    for j in range(net.layers[l].n_out):
        total = broadcast(0)
        for r in range(vectors(b.rows)):
            total = total + load(delta.d + r * delta.rows + j * LANES)
        accumulate(part.is_first, to + j * LANES, total)


cdef void input_gradient_rows(const Network *net, int l, const real *W, Block *b) noexcept nogil:
    """delta_{l-1} = (delta_l W_l') f'(z_{l-1}); the bias row of W_l has no unit below it."""
    cdef const Layer *layer = &net.layers[l]
    cdef Delta delta = delta_rows(net, l, b), below = delta_rows(net, l - 1, b)
    cdef Py_ssize_t R = vectors(b.rows)
    gemm_nn(Gemm(
        rows=layer.n_in, columns=R, terms=layer.n_out,
        a=W + layer.weight_offset, a_i=layer.n_out, a_k=1,
        v=delta.d, v_p=delta.rows, v_k=delta.unit,
        bias=NULL, row_bias=NULL,
        out=below.d, out_i=LANES, out_p=below.rows,
        epilogue=prepare_slopes(net, l - 1, b.a[l - 1], R * layer.n_in * LANES)))


cdef inline Epilogue prepare_slopes(const Network *net, int l, real *a, Py_ssize_t count) noexcept nogil:
    """The epilogue that multiplies by f'(z_l); where it needs f' itself, that replaces a_l."""
    cdef int activation = net.layers[l].activation
    if activation == RELU:
        return RELU_BACKWARD
    if activation == IDENTITY:
        return OVERWRITE
    if not net.layers[l].slope_from_input:
        replace_by_slopes(activation, a, count)
    return MULTIPLY
