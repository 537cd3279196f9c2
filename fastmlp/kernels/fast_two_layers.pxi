# The forward pass of one hidden layer of ReLU units with rows in lanes, both layers in one loop: what a unit
# gives is multiplied by its weights of the last layer while it is still in registers.
#
# It goes in tiles of 4 units x ROW_VECTORS vectors (simd.h: 4 where there are 32 registers, 2 where there are
# 16). Loop order: units outer, rows inner, so that a unit's weights stay in registers while the rows stream
# by.

cdef bint two_layers_applies(const Network *net) noexcept nogil:
    return net.layout == ROWS_IN_LANES and net.n_layers == 2 and net.layers[0].activation == RELU


cdef inline void two_layers_tile(int units, int columns, const Network *net, const Weights *w, Block *b,
                                 Py_ssize_t j, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """a, and z += a W_2, for units j .. j+units of vectors first..last, `columns` at a time.

    Inlined with constants for the first two.
    """
    cdef vec c[4 * 4]
    cdef vec x[4]
    cdef vec e
    cdef Py_ssize_t d = net.n_in, h = net.layers[0].n_out, m = net.n_out
    cdef const real *X = b.X + first * d * LANES
    cdef const real *W
    cdef real *a = b.a[0] + (first * h + j) * LANES
    cdef real *z
    cdef Py_ssize_t r, k, o
    cdef int i, p
    for r from first <= r <= last - columns by columns:
        for i in range(units):
            for p in range(columns):
                c[i * columns + p] = broadcast(w[0].bias[j + i])
        W = w[0].W + j
        for k in range(d):
            for p in range(columns):
                x[p] = load(X + p * d * LANES)
            for i in range(units):
                for p in range(columns):
                    c[i * columns + p] = add_products(c[i * columns + p], broadcast(W[i]), x[p])
            W += h
            X += LANES
        X += (columns - 1) * d * LANES
        for p in range(columns):
            for i in range(units):
                c[i * columns + p] = relu(c[i * columns + p])
                store(a + i * LANES, c[i * columns + p])
            a += h * LANES
        W = w[1].W + j * m
        z = b.z + r * LANES
        for o in range(m):
            for p in range(columns):
                e = broadcast(w[1].bias[o]) if j == 0 else load(z + p * LANES)
                for i in range(units):
                    e = add_products(e, broadcast(W[i * m]), c[i * columns + p])
                store(z + p * LANES, e)
            W += 1
            z += net.block


cdef inline void two_layers_units(int units, const Network *net, const Weights *w, Block *b,
                                  Py_ssize_t j) noexcept nogil:
    """Units j .. j+units of all rows."""
    cdef Py_ssize_t R = vectors(b.rows)
    two_layers_tile(units, ROW_VECTORS, net, w, b, j, 0, R)
    two_layers_tile(units, 1, net, w, b, j, R - R % ROW_VECTORS, R)


cdef void two_layers_forward(const Network *net, const Weights *w, Block *b) noexcept nogil:
    """a = ReLU([X, 1] W_1), z = [a, 1] W_2."""
    cdef Py_ssize_t j = 0, h = net.layers[0].n_out
    while j + 4 <= h:
        two_layers_units(4, net, w, b, j)
        j += 4
    if h - j == 1:
        two_layers_units(1, net, w, b, j)
    elif h - j == 2:
        two_layers_units(2, net, w, b, j)
    elif h - j == 3:
        two_layers_units(3, net, w, b, j)
