# Rows, and blocks of them in the layout of a network.

cdef struct Dataset:
    Py_ssize_t n
    const real *X           # (n, n_in)
    const real *Y           # (n, n_targets), NULL where only predictions are wanted
    const real *w           # (n,) sample weights; NULL: all ones
    const real *blocks      # the same as load_block leaves it, block after block; NULL: not there

cdef struct Block:          # rows under way
    Py_ssize_t rows
    const real *X           # units in lanes: (rows, n_in); rows in lanes: (vectors of rows, n_in) vectors
    const real *Y           # (n_targets, block)
    const real *w           # (block,) or NULL
    real **a                # a[l]: what hidden layer l gives, and then, on the way back, its delta;
    #                         units in lanes: (panels, block) vectors; rows in lanes: (vectors of rows, n_out)
    real **slopes           # the same for the derivatives of activations that need z; then the delta is here
    real *z                 # (n_out, block) the raw outputs, and then the delta of the last layer


cdef inline Py_ssize_t row_index(const int64_t *order, Py_ssize_t i) noexcept nogil:
    return i if order == NULL else <Py_ssize_t> order[i]


cdef inline Py_ssize_t block_size(const Network *net, const Dataset *data) noexcept nogil:
    """Numbers in a loaded block: X, Y and, where there are weights, w."""
    return net.block * (net.n_in + net.objective.n_targets + (data.w != NULL))


cdef Block loaded(const Network *net, const Dataset *data, const real *base, Py_ssize_t rows,
                  const Block *buffers) noexcept nogil:
    """The block that load_block has put at base."""
    cdef Block b = buffers[0]
    b.rows = rows
    b.X = base
    b.Y = b.X + net.block * net.n_in
    b.w = NULL
    if data.w != NULL:
        b.w = b.Y + net.block * net.objective.n_targets
    return b


cdef Block load_block(const Network *net, const Dataset *data, const int64_t *order, Py_ssize_t first,
                      Py_ssize_t rows, real *base, const Block *buffers) noexcept nogil:
    """Rows first .. first+rows (of `order`, where given), copied to base."""
    cdef Block b = loaded(net, data, base, rows, buffers)
    cdef real *X = base
    cdef real *Y = base + net.block * net.n_in
    cdef real *w = Y + net.block * net.objective.n_targets
    cdef bint some_zero = False
    cdef Py_ssize_t i, o
    if data.w != NULL:
        for i in range(rows):
            w[i] = data.w[row_index(order, first + i)]
            some_zero |= w[i] == 0
    if net.layout == ROWS_IN_LANES:
        load_rows_in_lanes(net, data, order, first, rows, X)
    elif order == NULL and not some_zero:
        b.X = data.X + first * net.n_in
    else:
        for i in range(rows):
            memcpy(X + i * net.n_in, data.X + row_index(order, first + i) * net.n_in,
                   net.n_in * sizeof(real))
    if some_zero:
        for i in range(rows):
            if w[i] == 0:
                clear_row(net, X, i)
    if data.Y != NULL:
        for o in range(net.objective.n_targets):
            for i in range(rows):
                Y[o * net.block + i] = data.Y[row_index(order, first + i) * net.objective.n_targets + o]
    return b


cdef void clear_row(const Network *net, real *X, Py_ssize_t i) noexcept nogil:
    """A row of weight 0 does not count, whatever it holds: 0 times infinity would be NaN."""
    cdef Py_ssize_t k
    if net.layout == UNITS_IN_LANES:
        memset(X + i * net.n_in, 0, net.n_in * sizeof(real))
        return
    for k in range(net.n_in):
        X[(i // LANES * net.n_in + k) * LANES + i % LANES] = 0


cdef void load_rows_in_lanes(const Network *net, const Dataset *data, const int64_t *order, Py_ssize_t first,
                             Py_ssize_t rows, real *X) noexcept nogil:
    """X of rows first .. first+rows, transposed into vectors of rows; zero in the lanes past the last row."""
    cdef const real *x
    cdef Py_ssize_t i, k, left, lane
    for i from 0 <= i < rows by LANES:
        left = min(LANES, rows - i)
        if order == NULL and left == LANES:
            x = data.X + (first + i) * net.n_in
            for k in range(net.n_in):
                for lane in range(LANES):
                    X[k * LANES + lane] = x[lane * net.n_in + k]
        else:
            for lane in range(left):
                x = data.X + row_index(order, first + i + lane) * net.n_in
                for k in range(net.n_in):
                    X[k * LANES + lane] = x[k]
            for lane in range(left, LANES):
                for k in range(net.n_in):
                    X[k * LANES + lane] = 0
        X += net.n_in * LANES
