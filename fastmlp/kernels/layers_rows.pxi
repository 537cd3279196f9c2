# A block of a network whose vectors are rows.
#
# X and C are stored vector by vector: one vector of rows, and in it its features (of X) or units (of
# C) follow one another. A weight is one number for all rows. A gradient is a sum over rows: each
# weight has a vector of sums, whose lanes are added up once, at the end of a chunk.
#
# The forward pass goes in tiles of 4 units x ROW_VECTORS vectors (simd.h: 4 where there are 32 registers, 2
# where there are 16), units outside, as what belongs to a unit is then at hand for all rows.

cdef void load_narrow(const Network *net, const Dataset *data, const int64_t *order, Py_ssize_t first,
                      Py_ssize_t rows, real *X) noexcept nogil:
    """X of rows first .. first+rows, turned over; zero in the lanes past the last row."""
    cdef const real *x
    cdef Py_ssize_t i, k, left, lane
    for i from 0 <= i < rows by LANES:
        left = min(LANES, rows - i)
        if order == NULL and left == LANES:
            x = data.X + (first + i) * net.d
            for k in range(net.d):
                for lane in range(LANES):
                    X[k * LANES + lane] = x[lane * net.d + k]
        else:
            for lane in range(left):
                x = data.X + row_index(order, first + i + lane) * net.d
                for k in range(net.d):
                    X[k * LANES + lane] = x[k]
            for lane in range(left, LANES):
                for k in range(net.d):
                    X[k * LANES + lane] = 0
        X += net.d * LANES


cdef inline void forward_units(int units, int columns, const Network *net, const Weights *W, Block *b,
                               Py_ssize_t j, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """B, C, and E += C W2, for units j .. j+units of vectors first..last, `columns` at a time.

    Inlined with constants for the first two.
    """
    cdef vec c[4 * 4]
    cdef vec x[4]
    cdef vec e
    cdef const real *X = b.X + first * net.d * LANES
    cdef const real *w
    cdef real *C = b.C + (first * net.h + j) * LANES
    cdef real *E
    cdef Py_ssize_t r, k, o
    cdef int i, p
    for r from first <= r <= last - columns by columns:
        for i in range(units):
            for p in range(columns):
                c[i * columns + p] = broadcast(W.b1[j + i])
        w = W.W1 + j
        for k in range(net.d):
            for p in range(columns):
                x[p] = load(X + p * net.d * LANES)
            for i in range(units):
                for p in range(columns):
                    c[i * columns + p] = add_products(c[i * columns + p], broadcast(w[i]), x[p])
            w += net.h
            X += LANES
        X += (columns - 1) * net.d * LANES
        for p in range(columns):
            for i in range(units):
                c[i * columns + p] = relu(c[i * columns + p])
                store(C + i * LANES, c[i * columns + p])
            C += net.h * LANES
        w = W.W2 + j * net.m
        E = b.F + r * LANES
        for o in range(net.m):
            for p in range(columns):
                e = broadcast(W.b2[o]) if j == 0 else load(E + p * LANES)
                for i in range(units):
                    e = add_products(e, broadcast(w[i * net.m]), c[i * columns + p])
                store(E + p * LANES, e)
            w += 1
            E += net.block


cdef inline void forward_all(int units, const Network *net, const Weights *W, Block *b,
                             Py_ssize_t j) noexcept nogil:
    """Units j .. j+units of all rows."""
    cdef Py_ssize_t R = vectors(b.rows)
    forward_units(units, ROW_VECTORS, net, W, b, j, 0, R)
    forward_units(units, 1, net, W, b, j, R - R % ROW_VECTORS, R)


cdef void forward_narrow(const Network *net, const Weights *W, Block *b) noexcept nogil:
    """B = A W1, C = ReLU(B), E = [C, 1] W2."""
    cdef Py_ssize_t j = 0
    while j + 4 <= net.h:
        forward_all(4, net, W, b, j)
        j += 4
    if net.h - j == 1:
        forward_all(1, net, W, b, j)
    elif net.h - j == 2:
        forward_all(2, net, W, b, j)
    elif net.h - j == 3:
        forward_all(3, net, W, b, j)


cdef inline void row_units(int units, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, const real *W1,
                           const real *W2, const real *x, real *E) noexcept nogil:
    """What forward_units does, for one row and without lanes; inlined with a constant for the units."""
    cdef real c[4]
    cdef const real *b1 = W1 + d * h
    cdef Py_ssize_t k, o
    cdef int i
    for i in range(units):
        c[i] = b1[i]
    for k in range(d):
        for i in range(units):
            c[i] = add_product(c[i], W1[k * h + i], x[k])
    for i in range(units):
        c[i] = 0 if c[i] < 0 else c[i]
    for o in range(m):
        for i in range(units):
            E[o] = add_product(E[o], W2[i * m + o], c[i])


cdef void forward_row(const real *parameters, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, const real *x,
                      real *E) noexcept nogil:
    """E of one row, with the same bits: in vectors it would leave all lanes but one empty.

    3-4-1 from C: 62 ns in vectors, 20 ns so.
    """
    cdef const real *W2 = parameters + (d + 1) * h
    cdef Py_ssize_t o, j = 0
    for o in range(m):
        E[o] = W2[h * m + o]
    while j + 4 <= h:
        row_units(4, d, h, m, parameters + j, W2 + j * m, x, E)
        j += 4
    while j < h:
        row_units(1, d, h, m, parameters + j, W2 + j * m, x, E)
        j += 1


cdef void backward_narrow(const Network *net, const real *W, Block *b, Partial *sums) noexcept nogil:
    """dW2 += D' dE, dB = (dE W2[:h]') * 1[B > 0], dW1 += A' dB; dE stands in b.F.

    The bias row of W2 has no unit below it: W2 here has h rows, and its gradient is db2.
    """
    cdef Py_ssize_t R = vectors(b.rows)
    cdef Py_ssize_t j, r, k
    cdef vec db
    cdef real *g = sums.gradient_lanes
    cdef Epilogue epilogue = OVERWRITE if sums.is_first else ACCUMULATE
    if net.m == 1:
        hidden_gradient_rows(HiddenGradient(
            columns=net.h, terms=R, features=net.d,
            f=b.F, f_t=LANES,
            x=b.X, x_k=LANES, x_t=net.d * LANES,
            C=b.C, C_p=LANES, C_t=net.h * LANES,
            dW2=g + net.W2 * LANES, db1=g + net.b1 * LANES,
            dW1=g, dW1_k=net.h * LANES, dW1_p=LANES, is_first=sums.is_first))
        k = min(net.d, FUSED_FEATURES)
    else:
        gemm_lanewise(Gemm(
            rows=net.m, columns=net.h, terms=R,
            a=b.F, a_i=net.block, a_k=LANES,
            v=b.C, v_p=LANES, v_k=net.h * LANES,
            bias=NULL,
            out=g + net.W2 * LANES, out_i=LANES, out_p=net.m * LANES, epilogue=epilogue))
        gemm_broadcast(Gemm(
            rows=net.h, columns=R, terms=net.m,
            a=W + net.W2, a_i=net.m, a_k=1,
            v=b.F, v_p=LANES, v_k=net.block,
            bias=NULL,
            out=b.C, out_i=LANES, out_p=net.h * LANES, epilogue=RELU_BACKWARD))
        for j in range(net.h):
            db = broadcast(0)
            for r in range(R):
                db = db + load(b.C + (r * net.h + j) * LANES)
            accumulate(sums.is_first, g + (net.b1 + j) * LANES, db)
        k = 0
    if k < net.d:
        gemm_lanewise(Gemm(
            rows=net.d - k, columns=net.h, terms=R,
            a=b.X + k * LANES, a_i=LANES, a_k=net.d * LANES,
            v=b.C, v_p=LANES, v_k=net.h * LANES,
            bias=NULL,
            out=g + k * net.h * LANES, out_i=net.h * LANES, out_p=LANES, epilogue=epilogue))
