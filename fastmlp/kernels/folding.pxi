# The weights of the standardised problem as those of the raw one: fastmlp/scaling.py has the formulas.

cdef enum:
    FOLDED_AT_ONCE = 16     # columns, whose sums stay in registers


cdef void fold_features(real *W, Py_ssize_t n_in, Py_ssize_t n_out, const double *mean,
                        const double *scale) noexcept nogil:
    """W[:-1] / scale, and W[-1] - (mean / scale) W[:-1], in place; W (n_in + 1, n_out)."""
    cdef double sums[FOLDED_AT_ONCE]
    cdef Py_ssize_t first, j, i, columns
    cdef real *w
    for first from 0 <= first < n_out by FOLDED_AT_ONCE:
        columns = min(<Py_ssize_t> FOLDED_AT_ONCE, n_out - first)
        memset(sums, 0, FOLDED_AT_ONCE * sizeof(double))
        for i in range(n_in):
            w = W + i * n_out + first
            for j in range(columns):
                sums[j] += mean[i] / scale[i] * w[j]
                w[j] = <real> (w[j] / scale[i])
        w = W + n_in * n_out + first
        for j in range(columns):
            w[j] = <real> (w[j] - sums[j])


cdef void fold_targets(real *W, Py_ssize_t n_in, Py_ssize_t n_out, const double *mean,
                       const double *scale) noexcept nogil:
    """W scale, and + mean in the bias row, in place; W (n_in + 1, n_out)."""
    cdef Py_ssize_t i, j
    for i in range(n_in + 1):
        for j in range(n_out):
            W[i * n_out + j] = <real> (W[i * n_out + j] * scale[j] + (mean[j] if i == n_in else 0))


cdef struct Folding:            # NULL: the data are as they came
    const double *mean_x
    const double *scale_x
    const double *mean_y
    const double *scale_y


cdef const double *doubles_of(cnp.ndarray array, Py_ssize_t count) except NULL:
    if cnp.PyArray_SIZE(array) != count or not cnp.PyArray_ISCARRAY_RO(array) or (
            cnp.PyArray_TYPE(array) != cnp.NPY_DOUBLE):
        raise ValueError(
            f"a scaling of {count} columns is needed, got {array.dtype} {(<object> array).shape}")
    return <const double *> cnp.PyArray_DATA(array)


def fold(cnp.ndarray first, cnp.ndarray last, mean_x, scale_x, mean_y, scale_y):
    """Fold a scaling into the weights of the first and the last layer (of one layer the same), in place."""
    cdef Py_ssize_t n_in = first.shape[0] - 1, n_out = last.shape[1], n_last = last.shape[0]
    fold_targets(data_of(last, n_last * n_out), n_last - 1, n_out, doubles_of(mean_y, n_out),
                 doubles_of(scale_y, n_out))
    fold_features(data_of(first, (n_in + 1) * first.shape[1]), n_in, first.shape[1], doubles_of(mean_x, n_in),
                  doubles_of(scale_x, n_in))
