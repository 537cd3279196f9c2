# How a network and its rows lie in memory.
#
# Design.
# (a) One pass: a block of rows goes forward, to its residual and back into the gradient while it is
#     in cache. Nothing of size n*h exists.
# (b) Two shapes of work. In a wide network the LANES of a vector are hidden units (layers_units.pxi), in a
#     narrow one they are rows (layers_rows.pxi): a vector that the few hidden units would not fill.
# (c) Parameters, gradient and moments lie in the order the kernels read, in a narrow network the
#     plain one: W1, its bias row, W2, its bias row. A fit converts them at its start and end only.

cdef struct Network:
    Py_ssize_t d, h, m      # features, hidden units, outputs
    bint narrow, tiny
    Py_ssize_t width        # hidden units as they lie: h, or h up to whole vectors
    Py_ssize_t b1, W2, b2   # where these begin among the parameters; W1 at 0
    Py_ssize_t size         # numbers in a parameter vector, up to whole vectors
    Py_ssize_t block        # rows in a block, whole vectors

cdef struct Weights:        # of a forward pass
    const real *W1          # wide: one vector for each panel p and feature k, at p W1_p + k W1_k
    Py_ssize_t W1_p, W1_k
    const real *b1
    const real *W2          # wide: panel by panel
    const real *b2

cdef struct Dataset:           # a data set
    Py_ssize_t n
    const real *X           # (n, d)
    const real *Y           # (n, m), NULL where only predictions are wanted
    const real *w           # (n,) sample weights; NULL: all ones
    const real *blocks      # the same as load_block leaves it, block after block; NULL: not there

cdef struct Block:          # rows under way, and where their C and F go
    Py_ssize_t rows
    const real *X           # wide: (rows, d); narrow: (vectors of rows, d) vectors
    const real *Y           # (m, block)
    const real *w           # (block,) or NULL
    real *C                 # wide: (vectors of units, block) vectors; narrow: (vectors of rows, h)
    real *F                 # (m, block): E, then F, then dL/dE


cdef inline Py_ssize_t ceiling(Py_ssize_t x, Py_ssize_t of) noexcept nogil:
    """x / of, rounded up."""
    return (x + of - 1) // of


cdef inline Py_ssize_t up_to_multiple(Py_ssize_t x, Py_ssize_t of) noexcept nogil:
    return ceiling(x, of) * of


cdef inline Py_ssize_t vectors(Py_ssize_t numbers) noexcept nogil:
    return ceiling(numbers, LANES)


cdef bint is_narrow(Py_ssize_t h) noexcept nogil:
    """Whether vectors of rows are better than vectors of units, of which the last is only partly filled.

    Measured, in shares of the FMA peak: narrow some 70 %, wide some 87 % of which h / width is of use. Below
    16 units a wide network has too few vectors to hide a multiply-add's 4 cycles (4-8-1, AVX2: 25 % to 66 %);
    above 64 a narrow one has more sums than the first-level cache holds.
    """
    return h < 16 or (h <= 64 and 80 * h < 65 * up_to_multiple(h, LANES))


cdef Py_ssize_t max_block_rows(const Network *net) noexcept nogil:
    """Rows whose X, Y, C and F stay in cache.

    A wide network is content with the second level, of 1 MB, of which its weights need a part. A narrow one
    uses each number for few operations, and wants the first, of 32 KB; below 8 vectors, adding to the sums
    would take longer than the sums (200-12-1: 54 % of the peak with 2 vectors, 77 % with 8).
    """
    cdef Py_ssize_t row = (net.d + net.width + 2 * net.m) * sizeof(real)
    if net.tiny:
        return 2048
    if net.narrow:
        return max(8 * LANES, min(32 * LANES, 16384 // row))
    return max(32, min(128, 655360 // row))


cdef Network network(Py_ssize_t d, Py_ssize_t h, Py_ssize_t m, Py_ssize_t rows) noexcept nogil:
    """The layout for passes over so many rows."""
    cdef Network net
    cdef Py_ssize_t blocks
    net.d, net.h, net.m = d, h, m
    net.narrow = is_narrow(h)
    net.width = h if net.narrow else up_to_multiple(h, LANES)
    net.b1 = net.width * d
    net.W2 = net.b1 + net.width
    net.b2 = net.W2 + net.width * m
    net.size = up_to_multiple(net.b2 + m, LANES)
    net.tiny = d <= TINY and h <= TINY and m == 1 and VECTOR_REGISTERS >= 32
    # All of about a length, so that there is as much for each thread: 256 rows of 784-256-10 in float64 are
    # 4 x 64, not 3 x 80 and 16 (two threads 1.72 times as fast as one, before 1.48).
    blocks = ceiling(rows, max_block_rows(&net))
    net.block = up_to_multiple(ceiling(rows, blocks), 2 * LANES)
    return net


cdef void pack(const Network *net, const real *W1, const real *W2, real *W) noexcept nogil:
    """W1 (d+1, h) and W2 (h+1, m) in the kernels' order; padding is left alone."""
    convert(net, <real *> W1, <real *> W2, W, False)


cdef void unpack(const Network *net, const real *W, real *W1, real *W2) noexcept nogil:
    """What pack does, back."""
    convert(net, W1, W2, <real *> W, True)


cdef void convert(const Network *net, real *W1, real *W2, real *W, bint back) noexcept nogil:
    cdef Py_ssize_t p, k, k0
    if net.narrow:
        move(W1, W, net.W2, back)
        move(W2, W + net.W2, (net.h + 1) * net.m, back)
        return
    # Some features at a time: a feature of the next panel is then near in W1, the next one of the same panel
    # in W. Panel by panel, each would be a page apart in W1.
    for k0 from 0 <= k0 < net.d by 8:
        for p in range(net.width // LANES):
            for k in range(k0, min(k0 + 8, net.d)):
                move(W1 + k * net.h + p * LANES, W + (p * net.d + k) * LANES,
                     min(LANES, net.h - p * LANES), back)
    move(W1 + net.d * net.h, W + net.b1, net.h, back)
    convert_W2(net, W2, W + net.W2, back)
    move(W2 + net.h * net.m, W + net.b2, net.m, back)


cdef void convert_W2(const Network *net, real *W2, real *panels, bint back) noexcept nogil:
    """W2 without its bias row, (h, m) and in panels."""
    cdef Py_ssize_t j, o
    if net.m == 1:
        move(W2, panels, net.h, back)
        return
    for j in range(net.h):
        for o in range(net.m):
            move(W2 + j * net.m + o, panels + (j // LANES * net.m + o) * LANES + j % LANES, 1, back)


cdef inline void move(real *plain, real *native, Py_ssize_t count, bint back) noexcept nogil:
    if back:
        memcpy(plain, native, count * sizeof(real))
    else:
        memcpy(native, plain, count * sizeof(real))


cdef Weights native_weights(const Network *net, const real *W) noexcept nogil:
    return Weights(W, net.d * LANES, LANES, W + net.b1, W + net.W2, W + net.b2)


cdef Weights plain_weights(const Network *net, const real *W, real *panels) noexcept nogil:
    """The weights as the user has them, W1 (d+1, h) and W2 (h+1, m) one after the other.

    In a wide network the last panel of a row reads on into the next row, in lanes that forward_wide clears;
    the bias row reads on into W2. Only W2 is brought into `panels` (width, m).
    """
    cdef const real *W2 = W + (net.d + 1) * net.h
    cdef Weights w = Weights(W, LANES, net.h, W + net.d * net.h, W2, W2 + net.h * net.m)
    if not net.narrow:
        memset(panels, 0, net.width * net.m * sizeof(real))
        convert_W2(net, <real *> W2, panels, False)
        w.W2 = panels
    return w


cdef inline Py_ssize_t row_index(const int64_t *order, Py_ssize_t i) noexcept nogil:
    return i if order == NULL else <Py_ssize_t> order[i]


cdef inline Py_ssize_t block_size(const Network *net, const Dataset *data) noexcept nogil:
    """Numbers in a loaded block: X, Y and, where there are weights, w."""
    return net.block * (net.d + net.m + (data.w != NULL))


cdef Block loaded(const Network *net, const Dataset *data, const real *base, Py_ssize_t rows,
                  const Block *buffers) noexcept nogil:
    """The block that load_block has put at base."""
    cdef Block b = buffers[0]
    b.rows = rows
    b.X = base
    b.Y = b.X + net.block * net.d
    b.w = NULL
    if data.w != NULL:
        b.w = b.Y + net.block * net.m
    return b


cdef Block load_block(const Network *net, const Dataset *data, const int64_t *order, Py_ssize_t first,
                      Py_ssize_t rows, real *base, const Block *buffers) noexcept nogil:
    """Rows first .. first+rows (of `order`, where given), copied to base."""
    cdef Block b = loaded(net, data, base, rows, buffers)
    cdef real *X = base
    cdef real *Y = base + net.block * net.d
    cdef real *w = Y + net.block * net.m
    cdef Py_ssize_t i, o
    if net.narrow:
        load_narrow(net, data, order, first, rows, X)
    elif order == NULL:
        b.X = data.X + first * net.d
    else:
        for i in range(rows):
            memcpy(X + i * net.d, data.X + row_index(order, first + i) * net.d, net.d * sizeof(real))
    if data.Y != NULL:
        for o in range(net.m):
            for i in range(rows):
                Y[o * net.block + i] = data.Y[row_index(order, first + i) * net.m + o]
    if data.w != NULL:
        for i in range(rows):
            w[i] = data.w[row_index(order, first + i)]
    return b
