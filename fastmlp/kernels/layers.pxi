# The network over a block of rows: forward (A..E), residual (F, G, H), backward (dW1, dW2).
#
# Design.
# (a) One pass: a block of BLOCK rows goes forward, to its residual and back into the gradient
#     accumulators while it is in cache. Nothing of size n*h exists.
# (b) SIMD lanes are hidden units. h is cut into `panels` of LANES units, and W1, the block of C,
#     W2 and the gradients are stored panel by panel, so that the innermost access is one aligned
#     vector. The last panel is padded; its unused lanes are held at zero.
# (c) Tiles of TILE rows (forward) or TILE features (backward) share one loaded vector and keep
#     TILE independent sums in registers. Rows and features are padded to whole tiles, features
#     with zeros, which add nothing, so that no kernel has a remainder loop.
# (d) A sum over rows is taken block by block, then over blocks: its rounding error grows with
#     BLOCK + n/BLOCK, not with n.

cdef enum:
    BLOCK = 64
    TILE = 4

cdef struct Network:
    Py_ssize_t d, h, m      # features, hidden units, outputs
    Py_ssize_t k            # d + 1, up to whole tiles: the columns of A and rows of W1
    Py_ssize_t panels       # h / LANES, rounded up
    real *A                 # (BLOCK, k)             [X, 1, 0..]
    real *F                 # (BLOCK, m)             E, then F, then w F 2/(m sum w)
    vec *C                  # (panels, BLOCK)        C, then dB
    vec *W1                 # (panels, k)
    vec *W2                 # (panels, m)            without its bias row
    vec *dW1                # (panels, k)
    vec *dW2                # (panels, m)
    real *b2                # (m,)                   the bias row of W2
    real *db2               # (m,)

cdef struct Rows:           # a data set
    Py_ssize_t n
    const real *X           # (n, d)
    const real *Y           # (n, m), NULL where only predictions are wanted
    const real *w           # (n,) sample weights; NULL: all ones


cdef inline Py_ssize_t up_to_multiple(Py_ssize_t x, Py_ssize_t of) noexcept nogil:
    return (x + of - 1) // of * of


cdef class Workspace:
    """One allocation, and a Network whose pointers lie in it, each on a cache line."""
    cdef Network net
    cdef char *arena

    def __cinit__(self, Py_ssize_t d, Py_ssize_t h, Py_ssize_t m):
        cdef Network *net = &self.net
        net.d, net.h, net.m = d, h, m
        net.k = up_to_multiple(d + 1, TILE)
        net.panels = up_to_multiple(h, LANES) // LANES
        self.arena = <char *> PyMem_RawCalloc(self.carve(NULL) + 64, 1)
        if self.arena == NULL:
            raise MemoryError(f"no memory for the workspace of a network of sizes {(d, h, m)}")
        self.carve(<char *> up_to_multiple(<uintptr_t> self.arena, 64))

    cdef Py_ssize_t carve(self, char *base) noexcept:
        """Lay the arrays out from `base` on; return their total size in bytes."""
        cdef Network *net = &self.net
        cdef Py_ssize_t used = 0
        used = cut(<void **> &net.A, base, used, BLOCK * net.k * sizeof(real))
        used = cut(<void **> &net.F, base, used, BLOCK * net.m * sizeof(real))
        used = cut(<void **> &net.C, base, used, net.panels * BLOCK * sizeof(vec))
        used = cut(<void **> &net.W1, base, used, net.panels * net.k * sizeof(vec))
        used = cut(<void **> &net.W2, base, used, net.panels * net.m * sizeof(vec))
        used = cut(<void **> &net.dW1, base, used, net.panels * net.k * sizeof(vec))
        used = cut(<void **> &net.dW2, base, used, net.panels * net.m * sizeof(vec))
        used = cut(<void **> &net.b2, base, used, net.m * sizeof(real))
        return cut(<void **> &net.db2, base, used, net.m * sizeof(real))

    def __dealloc__(self):
        PyMem_RawFree(self.arena)


cdef inline Py_ssize_t cut(void **pointer, char *base, Py_ssize_t used, Py_ssize_t size) noexcept:
    pointer[0] = base + used
    return used + up_to_multiple(size, 64)


cdef void load_weights(Network *net, const real *W1, const real *W2) noexcept nogil:
    """W1 (d+1, h) and W2 (h+1, m) into panels. Padding stays as allocated: zero."""
    cdef Py_ssize_t p, j, k, o, units
    for p in range(net.panels):
        units = min(LANES, net.h - p * LANES)
        for k in range(net.d + 1):
            memcpy(net.W1 + p * net.k + k, W1 + k * net.h + p * LANES, units * sizeof(real))
        for j in range(units):
            for o in range(net.m):
                (<real *> (net.W2 + p * net.m + o))[j] = W2[(p * LANES + j) * net.m + o]
    memcpy(net.b2, W2 + net.h * net.m, net.m * sizeof(real))


cdef void clear_gradients(Network *net) noexcept nogil:
    memset(net.dW1, 0, net.panels * net.k * sizeof(vec))
    memset(net.dW2, 0, net.panels * net.m * sizeof(vec))
    memset(net.db2, 0, net.m * sizeof(real))


cdef void store_gradients(const Network *net, real *dW1, real *dW2) noexcept nogil:
    """Panels into dW1 (d+1, h) and dW2 (h+1, m)."""
    cdef Py_ssize_t p, j, k, o, units
    for p in range(net.panels):
        units = min(LANES, net.h - p * LANES)
        for k in range(net.d + 1):
            memcpy(dW1 + k * net.h + p * LANES, net.dW1 + p * net.k + k, units * sizeof(real))
        for j in range(units):
            for o in range(net.m):
                dW2[(p * LANES + j) * net.m + o] = (<const real *> (net.dW2 + p * net.m + o))[j]
    memcpy(dW2 + net.h * net.m, net.db2, net.m * sizeof(real))


cdef inline Py_ssize_t row(const int64_t *order, Py_ssize_t i) noexcept nogil:
    return i if order == NULL else <Py_ssize_t> order[i]


cdef void load_rows(Network *net, const Rows *data, const int64_t *order,
                    Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """A = [X, 1] for `rows` rows from `first` on (of `order`, where given)."""
    cdef real *A = net.A
    cdef Py_ssize_t i
    for i in range(rows):
        memcpy(A, data.X + row(order, first + i) * net.d, net.d * sizeof(real))
        A[net.d] = 1
        A += net.k
    # columns past d stay zero from the allocation; what stands in rows past `rows` is not used


cdef void forward_rows(Network *net, Py_ssize_t rows) noexcept nogil:
    """B = A W1, C = ReLU(B), E = [C, 1] W2."""
    cdef const real *a
    cdef const vec *W
    cdef vec *C
    cdef vec b0, b1, b2, b3, e
    cdef Py_ssize_t p, i, k, o, stride = net.k
    for p in range(net.panels):
        W = net.W1 + p * net.k
        for i from 0 <= i < rows by TILE:
            a = net.A + i * stride
            b0 = b1 = b2 = b3 = broadcast(0)
            for k in range(stride):
                b0 = b0 + a[k] * W[k]
                b1 = b1 + a[stride + k] * W[k]
                b2 = b2 + a[2 * stride + k] * W[k]
                b3 = b3 + a[3 * stride + k] * W[k]
            C = net.C + p * BLOCK + i
            C[0], C[1], C[2], C[3] = relu(b0), relu(b1), relu(b2), relu(b3)
    if net.h % LANES:
        # an infinite x times the padding's zero is NaN: keep it out of the unused lanes
        C = net.C + (net.panels - 1) * BLOCK
        for i in range(rows):
            C[i] = first_lanes(C[i], net.h % LANES)
    for i in range(rows):
        for o in range(net.m):
            e = broadcast(0)
            for p in range(net.panels):
                e = e + net.C[p * BLOCK + i] * net.W2[p * net.m + o]
            net.F[i * net.m + o] = net.b2[o] + lane_sum(e)


cdef void residual_rows(Network *net, const Rows *data, const int64_t *order, Py_ssize_t first,
                        Py_ssize_t rows, double scale, double *squares) noexcept nogil:
    """F = E - Y; squares[o] += w F**2 (the sum H, kept per output); F becomes scale w F."""
    cdef real *F = net.F
    cdef const real *Y
    cdef double f, w
    cdef Py_ssize_t i, o, r
    for i in range(rows):
        r = row(order, first + i)
        Y = data.Y + r * net.m
        w = 1.0 if data.w == NULL else data.w[r]
        for o in range(net.m):
            f = F[o] - Y[o]
            squares[o] += w * f * f
            F[o] = <real> (scale * w * f)
        F += net.m


cdef void backward_rows(Network *net, Py_ssize_t rows) noexcept nogil:
    """dW2 += D' F, dB = (F W2[:h]') * 1[B > 0], dW1 += A' dB, with F as residual_rows leaves it.

    The bias row of W2 has no unit below it: W2 here has h rows, and its gradient is db2.
    """
    cdef const real *F = net.F
    cdef const real *a
    cdef vec *C
    cdef vec *dW
    cdef vec s0, s1, s2, s3, c
    cdef real s
    cdef Py_ssize_t p, i, k, o, stride = net.k, m = net.m
    for o in range(m):
        s = 0
        for i in range(rows):
            s += F[i * m + o]
        net.db2[o] += s
    for p in range(net.panels):
        C = net.C + p * BLOCK
        for o in range(m):
            s0 = broadcast(0)
            for i in range(rows):
                s0 = s0 + F[i * m + o] * C[i]
            net.dW2[p * m + o] = net.dW2[p * m + o] + s0
        for i in range(rows):
            c = broadcast(0)
            for o in range(m):
                c = c + F[i * m + o] * net.W2[p * m + o]
            C[i] = where_active(C[i], c)
        dW = net.dW1 + p * stride
        for k from 0 <= k < stride by TILE:
            a = net.A + k
            s0 = s1 = s2 = s3 = broadcast(0)
            for i in range(rows):
                s0 = s0 + a[0] * C[i]
                s1 = s1 + a[1] * C[i]
                s2 = s2 + a[2] * C[i]
                s3 = s3 + a[3] * C[i]
                a += stride
            dW[k] = dW[k] + s0
            dW[k + 1] = dW[k + 1] + s1
            dW[k + 2] = dW[k + 2] + s2
            dW[k + 3] = dW[k + 3] + s3


cdef void add_rows(Network *net, const Rows *data, const int64_t *order, Py_ssize_t first,
                   Py_ssize_t last, double scale, double *squares) noexcept nogil:
    """Rows first..last: their squared residuals and, unless `scale` is 0, their gradients."""
    cdef Py_ssize_t i, rows
    for i from first <= i < last by BLOCK:
        rows = min(BLOCK, last - i)
        load_rows(net, data, order, i, rows)
        forward_rows(net, rows)
        residual_rows(net, data, order, i, rows, scale, squares)
        if scale != 0:
            backward_rows(net, rows)


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


def forward(cnp.ndarray X, cnp.ndarray W1, cnp.ndarray W2, cnp.ndarray out):
    """Write E for X (n, d), W1 (d+1, h), W2 (h+1, m) into out (n, m)."""
    cdef Workspace work = Workspace(X.shape[1], W1.shape[1], W2.shape[1])
    cdef Network *net = &work.net
    cdef Rows rows = Rows(X.shape[0], elements(X), NULL, NULL)
    cdef real *E = elements(out)
    cdef const real *w1 = elements(W1)
    cdef const real *w2 = elements(W2)
    cdef Py_ssize_t i, block
    with nogil:
        load_weights(net, w1, w2)
        for i from 0 <= i < rows.n by BLOCK:
            block = min(BLOCK, rows.n - i)
            load_rows(net, &rows, NULL, i, block)
            forward_rows(net, block)
            memcpy(E + i * net.m, net.F, block * net.m * sizeof(real))


def loss_and_gradients(cnp.ndarray X, cnp.ndarray Y, cnp.ndarray w, cnp.ndarray W1,
                       cnp.ndarray W2, cnp.ndarray dW1, cnp.ndarray dW2):
    """L as a float; the gradients into dW1 and dW2, unless they are None."""
    cdef Workspace work = Workspace(X.shape[1], W1.shape[1], W2.shape[1])
    cdef Network *net = &work.net
    cdef Rows rows = Rows(X.shape[0], elements(X), elements(Y), elements(w))
    cdef const real *w1 = elements(W1)
    cdef const real *w2 = elements(W2)
    cdef real *g1 = elements(dW1)
    cdef real *g2 = elements(dW2)
    cdef double *squares = <double *> PyMem_RawCalloc(net.m, sizeof(double))
    cdef double total, H = 0
    cdef Py_ssize_t o
    if squares == NULL:
        raise MemoryError("no memory for the loss")
    with nogil:
        total = net.m * total_weight(&rows, NULL, 0, rows.n)
        load_weights(net, w1, w2)
        add_rows(net, &rows, NULL, 0, rows.n, 0 if g1 == NULL else 2 / total, squares)
        if g1 != NULL:
            store_gradients(net, g1, g2)
        for o in range(net.m):
            H += squares[o]
    PyMem_RawFree(squares)
    return H / total
