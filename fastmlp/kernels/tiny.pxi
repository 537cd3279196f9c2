# A block of a network of at most 4 features, 4 units and one output: every sum in a register.
#
# Nothing but X and Y is read, and nothing is written before the end of the block. 3-4-1 has 22 sums,
# which with x and c are what AVX-512 has registers for. Measured on Zen 4 against the general narrow
# kernel: see the commit.

cdef enum:
    TINY = 4
    PAIR = 1


cdef inline void tiny_tile(int d, int h, const Network *net, const real *W, const Block *b,
                           double scale, Sums *sums) noexcept nogil:
    """Forward, residual and backward for d features and h units; inlined with constants for both."""
    cdef vec dW1[16]
    cdef vec db1[4]
    cdef vec dW2[4]
    cdef vec x[4 * PAIR]
    cdef vec c[4 * PAIR]
    cdef vec wf[PAIR]
    cdef vec g[PAIR]
    cdef vec e, f, H, db2
    cdef vec factor = broadcast(<real> scale)
    cdef const real *W2 = W + net.W2
    cdef real *to = sums.lanes
    cdef Py_ssize_t i, left
    cdef int j, k, p
    H = db2 = broadcast(0)
    for j in range(h):
        db1[j] = dW2[j] = broadcast(0)
        for k in range(d):
            dW1[k * h + j] = broadcast(0)
    for i from 0 <= i < b.rows by PAIR * LANES:
        for p in range(PAIR):
            for k in range(d):
                x[k * PAIR + p] = load(b.X + (i + p * LANES) * d + k * LANES)
            for j in range(h):
                c[j * PAIR + p] = broadcast(W[d * h + j])
                for k in range(d):
                    c[j * PAIR + p] = c[j * PAIR + p] + W[k * h + j] * x[k * PAIR + p]
                c[j * PAIR + p] = relu(c[j * PAIR + p])
            e = W2[0] * c[p]
            if h > 1:
                e = e + W2[1] * c[PAIR + p]
            f = broadcast(W2[h])
            for j in range(2, h):
                f = f + W2[j] * c[j * PAIR + p]
            f = f + (e - load(b.Y + i + p * LANES))
            wf[p] = f if b.w == NULL else load(b.w + i + p * LANES) * f
            left = b.rows - i - p * LANES
            if left < LANES:
                f = first_lanes(f, left)
                wf[p] = first_lanes(wf[p], left)
            H = H + wf[p] * f
            db2 = db2 + wf[p]
        for j in range(h):
            for p in range(PAIR):
                dW2[j] = dW2[j] + c[j * PAIR + p] * wf[p]
                g[p] = where_active(c[j * PAIR + p], wf[p])
                db1[j] = db1[j] + g[p]
            for k in range(d):
                for p in range(PAIR):
                    dW1[k * h + j] = dW1[k * h + j] + x[k * PAIR + p] * g[p]
    add_lanes(sums.H, H)
    for j in range(h):
        for k in range(d):
            add_scaled(to + (k * h + j) * LANES, factor * W2[j], dW1[k * h + j])
        add_scaled(to + (d * h + j) * LANES, factor * W2[j], db1[j])
        add_scaled(to + (d * h + h + j) * LANES, factor, dW2[j])
    add_scaled(to + (d * h + 2 * h) * LANES, factor, db2)


cdef inline void add_scaled(real *to, vec factor, vec v) noexcept nogil:
    store(to, load(to) + factor * v)


cdef inline void tiny_units(int d, const Network *net, const real *W, const Block *b, double scale,
                            Sums *sums) noexcept nogil:
    if net.h == 1:
        tiny_tile(d, 1, net, W, b, scale, sums)
    elif net.h == 2:
        tiny_tile(d, 2, net, W, b, scale, sums)
    elif net.h == 3:
        tiny_tile(d, 3, net, W, b, scale, sums)
    else:
        tiny_tile(d, 4, net, W, b, scale, sums)


cdef void tiny_block(const Network *net, const real *W, const Block *b, double scale, Sums *sums) noexcept nogil:
    if net.d == 1:
        tiny_units(1, net, W, b, scale, sums)
    elif net.d == 2:
        tiny_units(2, net, W, b, scale, sums)
    elif net.d == 3:
        tiny_units(3, net, W, b, scale, sums)
    else:
        tiny_units(4, net, W, b, scale, sums)
