# How a network lies in memory, and one pass over its rows.
#
# Design.
# (a) One pass: a block of rows goes forward, to its residual and back into the gradient while it is
#     in cache. Nothing of size n*h exists.
# (b) Two shapes of work. In a wide network the LANES of a vector are hidden units (wide.pxi), in a
#     narrow one they are rows (narrow.pxi): a vector that the few hidden units would not fill.
# (c) Parameters, gradient and moments lie in the order the kernels read, in a narrow network the
#     plain one: W1, its bias row, W2, its bias row. A fit converts them at its start and end only.
# (d) A sum over rows is taken block by block, then over blocks: its rounding error grows with
#     block + n/block, not with n.

cdef struct Network:
    Py_ssize_t d, h, m      # features, hidden units, outputs
    bint narrow, tiny
    Py_ssize_t width        # hidden units as they lie: h, or h up to whole vectors
    Py_ssize_t b1, W2, b2   # where these begin among the parameters; W1 at 0
    Py_ssize_t size         # numbers in a parameter vector, up to whole vectors
    Py_ssize_t block        # rows in a block, whole vectors

cdef struct Rows:           # a data set
    Py_ssize_t n
    const real *X           # (n, d)
    const real *Y           # (n, m), NULL where only predictions are wanted
    const real *w           # (n,) sample weights; NULL: all ones
    const real *blocks      # the same as load_block leaves it, block after block; NULL: not there

cdef struct Block:
    Py_ssize_t rows
    const real *X           # wide: (rows, d); narrow: (vectors of rows, d) vectors
    const real *Y           # (m, block)
    const real *w           # (block,) or NULL
    real *C                 # wide: (vectors of units, block) vectors; narrow: (vectors of rows, h)
    real *F                 # (m, block): E, then F, then dL/dE

cdef struct Sums:           # what a pass over rows adds up
    double *H               # (m, LANES) squared residuals
    real *gradient          # (size,)
    real *lanes             # vectors whose lanes are still to be added: narrow (size,), wide (m,)


cdef inline Py_ssize_t up_to_multiple(Py_ssize_t x, Py_ssize_t of) noexcept nogil:
    return (x + of - 1) // of * of


cdef inline Py_ssize_t vectors(Py_ssize_t numbers) noexcept nogil:
    return (numbers + LANES - 1) // LANES


cdef Py_ssize_t rows_at_once(const Network *net) noexcept nogil:
    """Rows whose X, Y, C and F stay in cache: in half of the first level's 32 KB or the second's 1 MB."""
    cdef Py_ssize_t row = (net.d + net.width + 2 * net.m) * sizeof(real)
    if net.tiny:
        return 1024
    if net.narrow:
        return max(8 * LANES, min(32 * LANES, 16384 // row))
    return max(32, min(96, 524288 // row))


cdef Network network(Py_ssize_t d, Py_ssize_t h, Py_ssize_t m) noexcept nogil:
    cdef Network net
    net.d, net.h, net.m = d, h, m
    net.narrow = h < 16 or (h <= 64 and 80 * h < 65 * up_to_multiple(h, LANES))
    net.width = h if net.narrow else up_to_multiple(h, LANES)
    net.b1 = net.width * d
    net.W2 = net.b1 + net.width
    net.b2 = net.W2 + net.width * m
    net.size = up_to_multiple(net.b2 + m, LANES)
    net.tiny = d <= TINY and h <= TINY and m == 1 and REGISTERS >= 32
    net.block = up_to_multiple(rows_at_once(&net), 2 * LANES)
    return net


cdef void to_native(const Network *net, const real *W1, const real *W2, real *W) noexcept nogil:
    """W1 (d+1, h) and W2 (h+1, m) in the kernels' order; padding is left alone."""
    cdef Py_ssize_t p, j, k, o, units
    if net.narrow:
        memcpy(W, W1, net.W2 * sizeof(real))
        memcpy(W + net.W2, W2, (net.h + 1) * net.m * sizeof(real))
        return
    for p in range(net.width // LANES):
        units = min(LANES, net.h - p * LANES)
        for k in range(net.d):
            memcpy(W + (p * net.d + k) * LANES, W1 + k * net.h + p * LANES, units * sizeof(real))
        for j in range(units):
            for o in range(net.m):
                W[net.W2 + (p * net.m + o) * LANES + j] = W2[(p * LANES + j) * net.m + o]
    memcpy(W + net.b1, W1 + net.d * net.h, net.h * sizeof(real))
    memcpy(W + net.b2, W2 + net.h * net.m, net.m * sizeof(real))


cdef void to_plain(const Network *net, const real *W, real *W1, real *W2) noexcept nogil:
    """What to_native does, back."""
    cdef Py_ssize_t p, j, k, o, units
    if net.narrow:
        memcpy(W1, W, net.W2 * sizeof(real))
        memcpy(W2, W + net.W2, (net.h + 1) * net.m * sizeof(real))
        return
    for p in range(net.width // LANES):
        units = min(LANES, net.h - p * LANES)
        for k in range(net.d):
            memcpy(W1 + k * net.h + p * LANES, W + (p * net.d + k) * LANES, units * sizeof(real))
        for j in range(units):
            for o in range(net.m):
                W2[(p * LANES + j) * net.m + o] = W[net.W2 + (p * net.m + o) * LANES + j]
    memcpy(W1 + net.d * net.h, W + net.b1, net.h * sizeof(real))
    memcpy(W2 + net.h * net.m, W + net.b2, net.m * sizeof(real))


cdef inline Py_ssize_t row(const int64_t *order, Py_ssize_t i) noexcept nogil:
    return i if order == NULL else <Py_ssize_t> order[i]


cdef inline Py_ssize_t block_size(const Network *net, const Rows *data) noexcept nogil:
    """Numbers in a loaded block: X, Y and, where there are weights, w."""
    return net.block * (net.d + net.m + (data.w != NULL))


cdef Block loaded(const Network *net, const Rows *data, const real *base, Py_ssize_t rows,
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


cdef Block load_block(const Network *net, const Rows *data, const int64_t *order, Py_ssize_t first,
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
            memcpy(X + i * net.d, data.X + row(order, first + i) * net.d, net.d * sizeof(real))
    if data.Y != NULL:
        for o in range(net.m):
            for i in range(rows):
                Y[o * net.block + i] = data.Y[row(order, first + i) * net.m + o]
    if data.w != NULL:
        for i in range(rows):
            w[i] = data.w[row(order, first + i)]
    return b


cdef void forward_block(const Network *net, const real *W, Block *b) noexcept nogil:
    if net.narrow:
        forward_narrow(net, W, b)
    else:
        forward_wide(net, W, b)


cdef inline void residual(Block *b, Py_ssize_t o, Py_ssize_t i, Py_ssize_t rows, real scale, vec *H,
                          vec *db2) noexcept nogil:
    """The same for one vector, of which the first `rows` lanes count."""
    cdef real *F = b.F + o + i
    cdef vec f = load(F) - load(b.Y + o + i)
    cdef vec wf = f if b.w == NULL else load(b.w + i) * f
    if rows < LANES:
        f, wf = first_lanes(f, rows), first_lanes(wf, rows)
    H[0] = H[0] + wf * f
    wf = scale * wf
    db2[0] = db2[0] + wf
    store(F, wf)


cdef void residual_block(const Network *net, Block *b, double scale, Sums *sums) noexcept nogil:
    """F = E - Y, H += w F**2; F becomes dL/dE = scale w F, and db2 += its sum."""
    cdef vec f, h, db
    cdef real *db2 = sums.lanes + (net.b2 * LANES if net.narrow else 0)
    cdef Py_ssize_t o, i, whole = b.rows - b.rows % LANES
    for o in range(net.m):
        h = db = broadcast(0)
        for i from 0 <= i < whole by LANES:
            residual(b, o * net.block, i, LANES, scale, &h, &db)
        if whole < b.rows:
            residual(b, o * net.block, whole, b.rows - whole, scale, &h, &db)
        add_lanes(sums.H + o * LANES, h)
        store(db2 + o * LANES, load(db2 + o * LANES) + db)


cdef void add_rows(const Network *net, const real *W, const Rows *data, const int64_t *order,
                   Py_ssize_t first, Py_ssize_t last, double scale, const Block *buffers, Sums *sums) noexcept nogil:
    """Rows first..last: their squared residuals and, unless `scale` is 0, their gradients."""
    cdef Block b
    cdef Py_ssize_t i, rows
    for i from first <= i < last by net.block:
        rows = min(net.block, last - i)
        if data.blocks != NULL:
            b = loaded(net, data, data.blocks + i // net.block * block_size(net, data), rows, buffers)
        else:
            b = load_block(net, data, order, i, rows, <real *> buffers.X, buffers)
        if scale != 0 and net.tiny:
            tiny_block(net, W, &b, scale, sums)
            continue
        forward_block(net, W, &b)
        residual_block(net, &b, scale, sums)
        if scale == 0:
            continue
        if net.narrow:
            backward_narrow(net, W, &b, sums)
        else:
            backward_wide(net, W, &b, sums)


cdef void predict_rows(const Network *net, const real *W, const Rows *data, Py_ssize_t first,
                       Py_ssize_t last, const Block *buffers, real *E) noexcept nogil:
    """E of rows first..last, to the same rows of E (n, m)."""
    cdef Block b
    cdef Py_ssize_t i, j, o, rows
    for i from first <= i < last by net.block:
        rows = min(net.block, last - i)
        b = load_block(net, data, NULL, i, rows, <real *> buffers.X, buffers)
        forward_block(net, W, &b)
        for o in range(net.m):
            for j in range(rows):
                E[(i + j) * net.m + o] = b.F[o * net.block + j]


cdef void clear_gradient(const Network *net, Sums *sums) noexcept nogil:
    memset(sums.gradient, 0, net.size * sizeof(real))
    memset(sums.lanes, 0, (net.size if net.narrow else net.m) * sizeof(vec))


cdef void finish_gradient(const Network *net, const real *W, Sums *sums) noexcept nogil:
    """Add up the lanes; for one output, multiply dW1 and db1 by W2 (hidden.pxi)."""
    cdef vec v[LANES]
    cdef real *g = sums.gradient
    cdef real *to = g if net.narrow else g + net.b2
    cdef Py_ssize_t i, j, k, count = net.size if net.narrow else net.m
    for i from 0 <= i < count by LANES:
        for j in range(LANES):
            v[j] = load(sums.lanes + (i + j) * LANES)
        store(to + i, lane_sums(v))
    if net.m == 1 and net.narrow:
        for k in range(net.d + 1):
            for j in range(net.h):
                g[k * net.h + j] *= W[net.W2 + j]
    elif net.m == 1:
        for j from 0 <= j < net.width by LANES:
            for k in range(net.d):
                store(g + j * net.d + k * LANES, load(g + j * net.d + k * LANES) * load(W + net.W2 + j))
            store(g + net.b1 + j, load(g + net.b1 + j) * load(W + net.W2 + j))


cdef double total(const double *lanes) noexcept nogil:
    cdef double s = 0
    cdef Py_ssize_t i
    for i in range(LANES):
        s += lanes[i]
    return s


cdef double total_weight(const Rows *data, const int64_t *order,
                         Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The sum of the sample weights of rows first..last."""
    cdef double total = 0
    cdef Py_ssize_t i
    if data.w == NULL:
        return last - first
    for i in range(first, last):
        total += data.w[row(order, i)]
    return total


cdef class Workspace:
    """A network's layout and the memory of one pass: one allocation, each array on a cache line."""
    cdef Network net
    cdef Block buffers
    cdef Sums sums
    cdef real *W            # (size,) the parameters
    cdef char *arena

    def __cinit__(self, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m):
        self.net = network(d, h, m)
        self.arena = <char *> PyMem_RawCalloc(self.carve(NULL) + 64, 1)
        if self.arena == NULL:
            raise MemoryError(f"no memory for the workspace of a network of sizes {(d, h, m)}")
        self.carve(<char *> up_to_multiple(<uintptr_t> self.arena, 64))

    cdef Py_ssize_t carve(self, char *base) noexcept:
        """Lay the arrays out from `base` on; return their total size in bytes."""
        cdef Network *net = &self.net
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t lanes = net.size if net.narrow else up_to_multiple(net.m, LANES)
        used = cut(<void **> &self.W, base, used, net.size * sizeof(real))
        used = cut(<void **> &self.buffers.X, base, used, net.block * (net.d + net.m + 1) * sizeof(real))
        used = cut(<void **> &self.buffers.C, base, used, net.block * net.width * sizeof(real))
        used = cut(<void **> &self.buffers.F, base, used, net.block * net.m * sizeof(real))
        used = cut(<void **> &self.sums.H, base, used, net.m * LANES * sizeof(double))
        used = cut(<void **> &self.sums.gradient, base, used, net.size * sizeof(real))
        return cut(<void **> &self.sums.lanes, base, used, lanes * sizeof(vec))

    def __dealloc__(self):
        PyMem_RawFree(self.arena)


cdef inline Py_ssize_t cut(void **pointer, char *base, Py_ssize_t used, Py_ssize_t size) noexcept:
    pointer[0] = base + used
    return used + up_to_multiple(size, 64)


def forward(cnp.ndarray X, cnp.ndarray W1, cnp.ndarray W2, cnp.ndarray out):
    """Write E for X (n, d), W1 (d+1, h), W2 (h+1, m) into out (n, m)."""
    cdef Workspace work = Workspace(X.shape[1], W1.shape[1], W2.shape[1])
    cdef Network *net = &work.net
    cdef Rows rows = Rows(X.shape[0], elements(X), NULL, NULL, NULL)
    cdef const real *w1 = elements(W1)
    cdef const real *w2 = elements(W2)
    cdef real *E = elements(out)
    with nogil:
        to_native(net, w1, w2, work.W)
        predict_rows(net, work.W, &rows, 0, rows.n, &work.buffers, E)


def loss_and_gradients(cnp.ndarray X, cnp.ndarray Y, cnp.ndarray w, cnp.ndarray W1,
                       cnp.ndarray W2, cnp.ndarray dW1, cnp.ndarray dW2):
    """L as a float; the gradients into dW1 and dW2, unless they are None."""
    cdef Workspace work = Workspace(X.shape[1], W1.shape[1], W2.shape[1])
    cdef Network *net = &work.net
    cdef Rows rows = Rows(X.shape[0], elements(X), elements(Y), elements(w), NULL)
    cdef const real *w1 = elements(W1)
    cdef const real *w2 = elements(W2)
    cdef real *g1 = elements(dW1)
    cdef real *g2 = elements(dW2)
    cdef double terms, H = 0
    cdef Py_ssize_t o
    with nogil:
        to_native(net, w1, w2, work.W)
        terms = net.m * total_weight(&rows, NULL, 0, rows.n)
        add_rows(net, work.W, &rows, NULL, 0, rows.n, 0 if g1 == NULL else 2 / terms, &work.buffers, &work.sums)
        if g1 != NULL:
            finish_gradient(net, work.W, &work.sums)
            to_plain(net, work.sums.gradient, g1, g2)
        for o in range(net.m):
            H += total(work.sums.H + o * LANES)
    return H / terms
