# The gradient at the hidden layer for one output, in one go: dW2, dB, db1 and the first rows of dW1.
#
# Two vectors of C at a time; t counts what the gradients are summed over, rows (layers_units.pxi: f_t and
# x_tk are numbers) or vectors of rows (layers_rows.pxi: they are vectors too). All sums are in registers:
#
#     dW2 += f_t C_t        dB_t = f_t * 1[C_t > 0]        db1 += dB_t        dW1_k += x_tk dB_t
#
# f is dL/dE. The factor W2 of dB is the same for all rows, so finish_gradient multiplies the sums by it.
#
# A product for each of these, as with more outputs, reads and writes C once more for each of its one or
# two operations (16-64-1: 75 GF/s instead of 85; 3-4-1: 42 instead of 61).

cdef struct HiddenGradient:
    Py_ssize_t columns, terms, features     # how many vectors of C, t and k
    const real *f
    Py_ssize_t f_t
    const real *x
    Py_ssize_t x_k, x_t
    real *C                 # becomes dB, if features are left for a product
    Py_ssize_t C_p, C_t
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
    cdef vec dB[2]
    cdef vec f, c, x
    cdef const real *pf = q.f
    cdef const real *px = q.x
    cdef real *C = q.C + p0 * q.C_p
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
            c = load(C + p * q.C_p)
            dW2[p] = dW2[p] + f * c
            dB[p] = relu_backward(c, f)
            db1[p] = db1[p] + dB[p]
            if keep:
                store(C + p * q.C_p, dB[p])
        for k in range(features):
            x = load(px + k * q.x_k) if lanewise else broadcast(px[k * q.x_k])
            for p in range(columns):
                s[2 * k + p] = s[2 * k + p] + x * dB[p]
        pf += q.f_t
        px += q.x_t
        C += q.C_t
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


cdef void hidden_gradient_units(HiddenGradient q) noexcept nogil:
    hidden_columns(False, &q)


cdef void hidden_gradient_rows(HiddenGradient q) noexcept nogil:
    hidden_columns(True, &q)
