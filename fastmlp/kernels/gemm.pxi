# The one product that every step of the network is made of:
#
#     out[i, p] = epilogue(bias + sum_g sum_k a[i, g, k] v[p, g, k])
#
# v and out are vectors of LANES numbers; a is a number, or in `gemm_lanewise` a vector too; the bias is a
# vector for each p or a number for each i. There is one group, but in `gemm_grouped`. What i, p and k stand
# for differs from use to use (layers_units.pxi, layers_rows.pxi), and so do the strides.
#
# A tile of MR x 2 sums stays in registers while k runs: for its 2*MR multiply-adds it loads only
# MR + 2 operands. MR is what the registers hold (simd.h): 8 of AVX-512's 32, 6 of AVX2's 16.
# Measured on a Zen 4 of 117 GF/s, float32, with 16, 64 and 784 terms: 8x2 110, 115, 116 GF/s; 12x2 101, 109,
# 112. AVX2: 6x2 106, 114, 116; 4x2 107, 107, 107.
# What does not fill a tile is a smaller tile: nothing is padded or computed twice.

cdef enum Epilogue:
    OVERWRITE
    APPLY_RELU
    RELU_BACKWARD   # 0 where out holds 0
    MULTIPLY        # by what out holds
    ACCUMULATE      # to what out holds

cdef enum:
    COLUMNS_OF_FEW = VECTOR_REGISTERS >> 2  # of a tile of 2 or 3 rows: about what the registers hold

cdef struct Gemm:
    Py_ssize_t rows, columns, terms     # how many i, p and k
    const real *a
    Py_ssize_t a_i, a_k                 # strides, in numbers, as all that follow
    const real *v
    Py_ssize_t v_p, v_k
    const real *bias                    # one vector for each p; NULL: 0
    const real *row_bias                # one number for each i, where there is no bias; NULL: 0
    real *out
    Py_ssize_t out_i, out_p
    Epilogue epilogue


cdef inline Py_ssize_t ceiling(Py_ssize_t x, Py_ssize_t of) noexcept nogil:
    """x / of, rounded up."""
    return (x + of - 1) // of


cdef inline Py_ssize_t even_rows(Py_ssize_t rows) noexcept nogil:
    """Of how many rows to make products, where a tile and what is left would take longer than two halves.

    A tile of one or two rows waits for each multiply-add (8 rows, AVX2: 4 + 4, not 6 + 2: a step of
    16-64-64-1 with 256 rows takes 8 % less).
    """
    return ceiling(rows, 2) if MR < rows < 2 * MR else rows


cdef inline void accumulate(bint is_first, real *to, vec v) noexcept nogil:
    """Add v to a sum, or begin the sum with it."""
    store(to, v if is_first else load(to) + v)


cdef inline int place_of(int i, int p, int columns) noexcept nogil:
    """Of a sum of a tile. For one column as for two: GCC then finds registers for all addresses."""
    return max(columns, 2) * i + p


cdef inline void add_terms(int rows, int columns, bint lanewise, const Gemm *q, const real *a, const real *b,
                           Py_ssize_t terms, vec *s) noexcept nogil:
    """Add so many terms to the sums of a tile; in registers, as it is inlined into micro_kernel."""
    cdef vec left
    cdef vec v[8]
    cdef Py_ssize_t k
    cdef int i, p
    for k in range(terms):
        for p in range(columns):
            v[p] = load(b + p * q.v_p)
        for i in range(rows):
            left = load(a + i * q.a_i) if lanewise else broadcast(a[i * q.a_i])
            for p in range(columns):
                s[place_of(i, p, columns)] = add_products(s[place_of(i, p, columns)], left, v[p])
        a += q.a_k
        b += q.v_k


cdef inline void micro_kernel(int rows, int columns, bint lanewise, Py_ssize_t a_g, const Gemm *q,
                              Py_ssize_t i0, Py_ssize_t p0) noexcept nogil:
    """The sums i0 .. i0+rows, p0 .. p0+columns; inlined with constants for the first three, and for a_g if
    it is 0: there is one group.
    """
    cdef vec s[3 * 8]
    cdef const real *a = q.a + i0 * q.a_i
    cdef const real *b = q.v + p0 * q.v_p
    cdef real *out = q.out + i0 * q.out_i + p0 * q.out_p
    cdef Py_ssize_t k
    cdef int i, p
    if q.bias != NULL:
        for i in range(rows):
            for p in range(columns):
                s[place_of(i, p, columns)] = load(q.bias + (p0 + p) * LANES)
    elif q.row_bias != NULL:
        for i in range(rows):
            for p in range(columns):
                s[place_of(i, p, columns)] = broadcast(q.row_bias[i0 + i])
    else:
        for i in range(rows):
            for p in range(columns):
                s[place_of(i, p, columns)] = broadcast(0)
    if a_g:
        for k from 0 <= k < q.terms by LANES:
            add_terms(rows, columns, lanewise, q, a, b, min(LANES, q.terms - k), s)
            a += a_g
            b += LANES * q.v_k
    else:
        add_terms(rows, columns, lanewise, q, a, b, q.terms, s)
    if q.epilogue == APPLY_RELU:
        for i in range(rows):
            for p in range(columns):
                s[place_of(i, p, columns)] = relu(s[place_of(i, p, columns)])
                store(out + p * q.out_p, s[place_of(i, p, columns)])
            out += q.out_i
    elif q.epilogue == RELU_BACKWARD:
        for i in range(rows):
            for p in range(columns):
                store(out + p * q.out_p, relu_backward(load(out + p * q.out_p), s[place_of(i, p, columns)]))
            out += q.out_i
    elif q.epilogue == ACCUMULATE:
        for i in range(rows):
            for p in range(columns):
                store(out + p * q.out_p, load(out + p * q.out_p) + s[place_of(i, p, columns)])
            out += q.out_i
    elif q.epilogue == MULTIPLY:
        for i in range(rows):
            for p in range(columns):
                store(out + p * q.out_p, load(out + p * q.out_p) * s[place_of(i, p, columns)])
            out += q.out_i
    else:
        for i in range(rows):
            for p in range(columns):
                store(out + p * q.out_p, s[place_of(i, p, columns)])
            out += q.out_i


cdef inline void column_strip(int columns, bint lanewise, Py_ssize_t a_g, const Gemm *q,
                              Py_ssize_t p) noexcept nogil:
    cdef Py_ssize_t i = 0, left
    while i + MR <= q.rows:
        micro_kernel(MR, columns, lanewise, a_g, q, i, p)
        i += MR
    left = q.rows - i
    if left == 1:
        micro_kernel(1, columns, lanewise, a_g, q, i, p)
    elif left == 2:
        micro_kernel(2, columns, lanewise, a_g, q, i, p)
    elif left == 3:
        micro_kernel(3, columns, lanewise, a_g, q, i, p)
    elif left == 4:
        micro_kernel(4, columns, lanewise, a_g, q, i, p)
    elif left == 5:
        micro_kernel(5, columns, lanewise, a_g, q, i, p)
    elif left == 6:
        micro_kernel(6, columns, lanewise, a_g, q, i, p)
    elif left == 7:
        micro_kernel(7, columns, lanewise, a_g, q, i, p)


cdef inline void gemm(bint lanewise, Py_ssize_t a_g, const Gemm *q) noexcept nogil:
    cdef Py_ssize_t p = 0
    while q.rows == 1 and p + 8 <= q.columns:
        # with two sums at a time, each would wait for the 4 cycles of a multiply-add
        micro_kernel(1, 8, lanewise, a_g, q, 0, p)
        p += 8
    while p + 2 <= q.columns:
        column_strip(2, lanewise, a_g, q, p)
        p += 2
    if p < q.columns:
        column_strip(1, lanewise, a_g, q, p)


# With one of a's strides a constant the addresses of a tile fit the registers; left to itself the compiler
# makes such copies for some callers and not for others (6x2, AVX2: 25 instructions for 12 multiply-adds, else
# 31).

cdef void gemm_nn(Gemm q) noexcept nogil:
    """a row by row: a_k = 1; a bias, if any, for each column."""
    q.a_k, q.row_bias = 1, NULL
    gemm(False, 0, &q)


cdef void gemm_tn(Gemm q) noexcept nogil:
    """a transposed: a_i = 1; and v_k = LANES; a bias, if any, for each row."""
    q.a_i, q.v_k, q.bias = 1, LANES, NULL
    gemm(False, 0, &q)


cdef void gemm_lanewise(Gemm q) noexcept nogil:
    """a of vectors; v_p = LANES; no bias."""
    q.v_p, q.bias, q.row_bias = LANES, NULL, NULL
    gemm(True, 0, &q)


cdef void gemm_grouped(Gemm q, Py_ssize_t a_g) noexcept nogil:
    """a in panels: groups of LANES terms, a_g numbers apart; a_i = LANES, a_k = 1."""
    q.a_i, q.a_k, q.row_bias = LANES, 1, NULL
    gemm(False, a_g, &q)


cdef inline bint is_uneven(Py_ssize_t rows) noexcept nogil:
    """Whether gemm_uneven takes less time: of more rows what is left counts too little."""
    return rows < 6 * MR and (even_rows(rows) < rows or 1 < rows and 1 <= rows % MR <= 3)


cdef void gemm_uneven(Gemm q, Py_ssize_t a_g) noexcept nogil:
    """Few rows that do not fill tiles; a_g as in gemm_grouped, or 0.

    Up to three rows go by themselves and more columns at a time: two sums would wait for the 4 cycles of a
    multiply-add, and weights that are read as users have them lie together (128-1024-1, AVX-512, us: 2 rows
    17, else 30; 17 rows 53, else 71).
    """
    cdef Py_ssize_t p = 0, rows = q.rows
    q.row_bias = NULL
    while rows == 2 and p + COLUMNS_OF_FEW <= q.columns:
        micro_kernel(2, COLUMNS_OF_FEW, False, a_g, &q, 0, p)
        p += COLUMNS_OF_FEW
    while rows == 3 and p + COLUMNS_OF_FEW <= q.columns:
        micro_kernel(3, COLUMNS_OF_FEW, False, a_g, &q, 0, p)
        p += COLUMNS_OF_FEW
    q.v += p * q.v_p
    q.out += p * q.out_p
    if q.bias != NULL:
        q.bias += p * LANES
    q.columns -= p
    if even_rows(rows) < rows:
        q.rows = even_rows(rows)
    elif rows > MR:
        q.rows = rows - rows % MR
    gemm(False, a_g, &q)
    if q.rows < rows:
        q.a += q.rows * q.a_i
        q.out += q.rows * q.out_i
        q.rows = rows - q.rows
        gemm_uneven(q, a_g)
