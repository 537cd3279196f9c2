# A block of a network whose vectors are hidden units.
#
# W1, W2, C and the gradients are stored panel by panel: a panel is one vector of units, and its rows
# (of C), features (of W1) or outputs (of W2) follow one another. Stored row by row instead, neighbours
# in a panel would lie h apart, for a power of two in the same few sets of the cache. The last panel
# is padded; its unused lanes are zero in the weights, and so in C and in the gradients.

cdef void forward_wide(const Network *net, const Weights *w, Block *b) noexcept nogil:
    """B = A W1, C = ReLU(B), E = [C, 1] W2."""
    cdef Py_ssize_t panels = net.width // LANES, panel = net.block * LANES
    cdef Py_ssize_t i, o
    cdef real *last = b.C + (panels - 1) * panel
    gemm_broadcast(Gemm(
        rows=b.rows, columns=panels, terms=net.d,
        a=b.X, a_i=net.d, a_k=1,
        v=w.W1, v_p=w.W1_p, v_k=w.W1_k,
        bias=w.b1,
        out=b.C, out_i=LANES, out_p=panel, epilogue=RELU))
    if net.h % LANES:
        # an infinite x times the padding's zero is NaN: keep it out of the unused lanes
        for i in range(b.rows):
            store(last + i * LANES, mask_tail(load(last + i * LANES), net.h % LANES))
    for o in range(net.m):
        for i from 0 <= i <= b.rows - LANES by LANES:
            output_rows(LANES, net, w, b, i, o)
        if b.rows % LANES:
            output_rows(b.rows % LANES, net, w, b, b.rows - b.rows % LANES, o)


cdef inline void output_rows(int rows, const Network *net, const Weights *w, Block *b,
                             Py_ssize_t i, Py_ssize_t o) noexcept nogil:
    """E of output o for at most LANES rows from i on; in registers where `rows` is a constant."""
    cdef vec e[LANES]
    cdef vec W2
    cdef const real *C = b.C + i * LANES
    cdef Py_ssize_t p
    cdef int r
    for r in range(LANES):
        e[r] = broadcast(0)
    for p in range(net.width // LANES):
        W2 = load(w.W2 + (p * net.m + o) * LANES)
        for r in range(rows):
            e[r] = add_products(e[r], load(C + r * LANES), W2)
        C += net.block * LANES
    store(b.F + o * net.block + i, transpose_sum(e) + w.b2[o])


cdef void backward_wide(const Network *net, const real *W, Block *b, Partial *sums) noexcept nogil:
    """dW2 += D' dE, dB = (dE W2[:h]') * 1[B > 0], dW1 += A' dB; dE stands in b.F.

    The bias row of W2 has no unit below it: W2 here has h rows, and its gradient is db2. Two panels
    at a time, whose C stays in the first-level cache through all steps.
    """
    cdef Py_ssize_t p, panels = net.width // LANES
    for p from 0 <= p < panels by 2:
        backward_panels(net, W, b, sums, p, min(2, panels - p))


cdef void backward_panels(const Network *net, const real *W, Block *b, Partial *sums, Py_ssize_t p,
                          Py_ssize_t panels) noexcept nogil:
    cdef Py_ssize_t i, j, k, panel = net.block * LANES
    cdef vec db
    cdef real *C = b.C + p * panel
    cdef real *dW1 = sums.gradient + p * net.d * LANES
    cdef real *db1 = sums.gradient + net.b1 + p * LANES
    cdef real *dW2 = sums.gradient + net.W2 + p * net.m * LANES
    cdef Epilogue epilogue = OVERWRITE if sums.is_first else ACCUMULATE
    if net.m == 1:
        hidden_gradient_units(HiddenGradient(
            columns=panels, terms=b.rows, features=net.d,
            f=b.F, f_t=1,
            x=b.X, x_k=1, x_t=net.d,
            C=C, C_p=panel, C_t=LANES,
            dW2=dW2, db1=db1,
            dW1=dW1, dW1_k=LANES, dW1_p=net.d * LANES, is_first=sums.is_first))
        k = min(net.d, FUSED_FEATURES)
    else:
        gemm_broadcast(Gemm(
            rows=net.m, columns=panels, terms=b.rows,
            a=b.F, a_i=net.block, a_k=1,
            v=C, v_p=panel, v_k=LANES,
            bias=NULL,
            out=dW2, out_i=LANES, out_p=net.m * LANES, epilogue=epilogue))
        gemm_broadcast(Gemm(
            rows=b.rows, columns=panels, terms=net.m,
            a=b.F, a_i=1, a_k=net.block,
            v=W + net.W2 + p * net.m * LANES, v_p=net.m * LANES, v_k=LANES,
            bias=NULL,
            out=C, out_i=LANES, out_p=panel, epilogue=RELU_BACKWARD))
        for j in range(panels):
            db = broadcast(0)
            for i in range(b.rows):
                db = db + load(C + j * panel + i * LANES)
            accumulate(sums.is_first, db1 + j * LANES, db)
        k = 0
    if k < net.d:
        gemm_broadcast(Gemm(
            rows=net.d - k, columns=panels, terms=b.rows,
            a=b.X + k, a_i=1, a_k=net.d,
            v=C, v_p=panel, v_k=LANES,
            bias=NULL,
            out=dW1 + k * LANES, out_i=LANES, out_p=net.d * LANES, epilogue=epilogue))
