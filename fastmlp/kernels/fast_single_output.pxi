# The gradient at one hidden layer of ReLU units, for one output, in one go: the last weights', delta, the
# first bias row and the first rows of the first weights.
#
# Two vectors of a at a time; t counts what the gradients are summed over, rows (units in lanes: f_t and x_tk
# are numbers) or vectors of rows (rows in lanes: they are vectors too). All sums are in registers:
#
#     dW2 += f_t a_t        delta_t = f_t * 1[a_t > 0]        db1 += delta_t        dW1_k += x_tk delta_t
#
# f is the delta of the output. The factor W2 of delta is the same for all rows, so single_output_finish
# multiplies the sums by it: valid only because no layer below needs delta itself.
#
# A product for each of these, as with more outputs, reads and writes a once more for each of its one or
# two operations (16-64-1: 75 GF/s instead of 85; 3-4-1: 42 instead of 61).

cdef bint single_output_applies(const Network *net) noexcept nogil:
    return net.n_layers == 2 and net.n_out == 1 and net.layers[0].activation == RELU


cdef struct HiddenGradient:
    Py_ssize_t columns, terms, features     # how many vectors of a, t and k
    const real *f
    Py_ssize_t f_t
    const real *x
    Py_ssize_t x_k, x_t
    real *a                 # becomes delta, if features are left for a product
    Py_ssize_t a_p, a_t
    real *dW2               # one vector for each column
    real *db1               # the same
    real *dW1
    Py_ssize_t dW1_k, dW1_p
    bint is_first              # the sums hold nothing yet


cdef inline void hidden_tile(int features, int columns, bint lanewise, const HiddenGradient *q,
                             Py_ssize_t p0) noexcept nogil:
    """Columns p0 .. p0+columns, and the first features; inlined with constants for the first three."""
    cdef vec s[8 * 2]
    cdef vec dW2[2]
    cdef vec db1[2]
    cdef vec delta[2]
    cdef vec f, c, x
    cdef const real *pf = q.f
    cdef const real *px = q.x
    cdef real *a = q.a + p0 * q.a_p
    cdef bint keep = q.features > features
    cdef Py_ssize_t t
    cdef int k, p
    for p in range(columns):
        dW2[p] = db1[p] = broadcast(0)
        for k in range(features):
            s[2 * k + p] = broadcast(0)
    for t in range(q.terms):
        f = load(pf) if lanewise else broadcast(pf[0])
        for p in range(columns):
            c = load(a + p * q.a_p)
            dW2[p] = dW2[p] + f * c
            delta[p] = relu_backward(c, f)
            db1[p] = db1[p] + delta[p]
            if keep:
                store(a + p * q.a_p, delta[p])
        for k in range(features):
            x = load(px + k * q.x_k) if lanewise else broadcast(px[k * q.x_k])
            for p in range(columns):
                s[2 * k + p] = s[2 * k + p] + x * delta[p]
        pf += q.f_t
        px += q.x_t
        a += q.a_t
    for p in range(columns):
        accumulate(q.is_first, q.dW2 + (p0 + p) * LANES, dW2[p])
        accumulate(q.is_first, q.db1 + (p0 + p) * LANES, db1[p])
        for k in range(features):
            accumulate(q.is_first, q.dW1 + k * q.dW1_k + (p0 + p) * q.dW1_p, s[2 * k + p])


cdef inline void hidden_column(int columns, bint lanewise, const HiddenGradient *q,
                               Py_ssize_t p) noexcept nogil:
    if q.features >= FUSED_FEATURES:
        hidden_tile(FUSED_FEATURES, columns, lanewise, q, p)
    elif q.features == 1:
        hidden_tile(1, columns, lanewise, q, p)
    elif q.features == 2:
        hidden_tile(2, columns, lanewise, q, p)
    elif q.features == 3:
        hidden_tile(3, columns, lanewise, q, p)
    elif q.features == 4:
        hidden_tile(4, columns, lanewise, q, p)
    elif q.features == 5:
        hidden_tile(5, columns, lanewise, q, p)
    elif q.features == 6:
        hidden_tile(6, columns, lanewise, q, p)
    elif q.features == 7:
        hidden_tile(7, columns, lanewise, q, p)


cdef inline void hidden_columns(bint lanewise, const HiddenGradient *q) noexcept nogil:
    cdef Py_ssize_t p = 0
    while p + 2 <= q.columns:
        hidden_column(2, lanewise, q, p)
        p += 2
    if p < q.columns:
        hidden_column(1, lanewise, q, p)


# Two functions, each with its own copy of the tiles: in one, the compiler's registers were one too few
# (3-4-1, AVX2: 8 % more instructions for the gradient).

cdef void hidden_gradient_rows(HiddenGradient q) noexcept nogil:
    hidden_columns(True, &q)


cdef void hidden_gradient_units(HiddenGradient q) noexcept nogil:
    hidden_columns(False, &q)


cdef void single_output_backward(const Network *net, const real *W, Block *b, Partial *part) noexcept nogil:
    """The gradient of a block, but for the factor W2; two panels at a time, as in backward_units."""
    cdef const Layer *first = &net.layers[0]
    cdef const Layer *last = &net.layers[1]
    cdef real *g = part.gradient_lanes
    cdef Py_ssize_t R = vectors(b.rows), h = first.n_out, k = min(net.n_in, FUSED_FEATURES)
    cdef Py_ssize_t p, panels = first.n_out_padded // LANES, panel = net.block * LANES
    if net.layout == ROWS_IN_LANES:
        hidden_gradient_rows(HiddenGradient(
            columns=h, terms=R, features=net.n_in,
            f=b.z, f_t=LANES,
            x=b.X, x_k=LANES, x_t=net.n_in * LANES,
            a=b.a[0], a_p=LANES, a_t=h * LANES,
            dW2=g + last.weight_offset * LANES, db1=g + first.bias_offset * LANES,
            dW1=g, dW1_k=h * LANES, dW1_p=LANES, is_first=part.is_first))
        if k < net.n_in:
            gemm_lanewise(Gemm(
                rows=net.n_in - k, columns=h, terms=R,
                a=b.X + k * LANES, a_i=LANES, a_k=net.n_in * LANES,
                v=b.a[0], v_p=LANES, v_k=h * LANES,
                bias=NULL, row_bias=NULL,
                out=g + k * h * LANES, out_i=h * LANES, out_p=LANES,
                epilogue=OVERWRITE if part.is_first else ACCUMULATE))
        return
    for p from 0 <= p < panels by 2:
        hidden_gradient_units(HiddenGradient(
            columns=min(2, panels - p), terms=b.rows, features=net.n_in,
            f=b.z, f_t=1,
            x=b.X, x_k=1, x_t=net.n_in,
            a=b.a[0] + p * panel, a_p=panel, a_t=LANES,
            dW2=part.gradient + last.weight_offset + p * LANES,
            db1=part.gradient + first.bias_offset + p * LANES,
            dW1=part.gradient + p * net.n_in * LANES, dW1_k=LANES, dW1_p=net.n_in * LANES,
            is_first=part.is_first))
        weight_gradient_of_X(net, b, part, p, min(2, panels - p), k)


cdef void single_output_finish(const Network *net, const real *W, Partial *part) noexcept nogil:
    """Multiply the gradient of the first layer by W2."""
    cdef Py_ssize_t d = net.n_in, h = net.layers[0].n_out, padded = net.layers[0].n_out_padded
    cdef const real *W2 = W + net.layers[1].weight_offset
    cdef real *g = part.gradient
    cdef real *bias = g + net.layers[0].bias_offset
    cdef Py_ssize_t j, k
    if net.layout == ROWS_IN_LANES:
        for k in range(d + 1):
            for j in range(h):
                g[j] *= W2[j]
            g += h
        return
    for j from 0 <= j < padded by LANES:
        for k in range(d):
            store(g + k * LANES, load(g + k * LANES) * load(W2 + j))
        store(bias + j, load(bias + j) * load(W2 + j))
        g += d * LANES
