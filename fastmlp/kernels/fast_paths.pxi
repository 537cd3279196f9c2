# The specialisations: for each, when it applies and what it replaces. The chain is complete without them.
#
# The first row that applies counts, for each function. `python -m benchmarks.fast_paths` prints what each
# earns.

FAST_PATHS = ("tiny", "single_output", "two_layers", "row_by_row", "unpacked")

cdef struct FastPathRow:
    bint (*applies)(const Network *net) noexcept nogil
    FastPath path

cdef enum:
    N_FAST_PATHS = 5

cdef FastPathRow FAST_PATH_ROWS[N_FAST_PATHS]
FAST_PATH_ROWS[0] = FastPathRow(
    tiny_applies, FastPath(TINY_BLOCK, NULL, NULL, tiny_block, single_output_finish, NULL, NULL))
FAST_PATH_ROWS[1] = FastPathRow(
    single_output_applies, FastPath(0, NULL, single_output_backward, NULL, single_output_finish, NULL, NULL))
FAST_PATH_ROWS[2] = FastPathRow(
    two_layers_applies, FastPath(0, two_layers_forward, NULL, NULL, NULL, NULL, NULL))
FAST_PATH_ROWS[3] = FastPathRow(row_by_row_applies, FastPath(0, NULL, NULL, NULL, NULL, predict_row, NULL))
FAST_PATH_ROWS[4] = FastPathRow(
    unpacked_applies, FastPath(0, NULL, NULL, NULL, NULL, NULL, unpacked_rows))


cdef int choose_fast_paths(Network *net, int allowed) noexcept:
    """Set net.fast from the rows whose bits are set in `allowed`; return the bits of those in use."""
    cdef FastPath *path
    cdef int i, used = 0
    net.fast = FastPath(0, NULL, NULL, NULL, NULL, NULL, NULL)
    for i in range(N_FAST_PATHS):
        if not (allowed >> i & 1 and FAST_PATH_ROWS[i].applies(net)):
            continue
        path = &FAST_PATH_ROWS[i].path
        used |= 1 << i
        net.fast.block_rows = net.fast.block_rows or path.block_rows
        if net.fast.forward == NULL:
            net.fast.forward = path.forward
        if net.fast.backward == NULL:
            net.fast.backward = path.backward
        if net.fast.gradient == NULL:
            net.fast.gradient = path.gradient
        if net.fast.finish == NULL:
            net.fast.finish = path.finish
        if net.fast.row == NULL:
            net.fast.row = path.row
        if net.fast.unpacked_rows == NULL:
            net.fast.unpacked_rows = path.unpacked_rows
    return used
