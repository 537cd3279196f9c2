# Predictions of a few rows: straight from a network's parameters as users have them.

cdef struct Buffers

cdef enum:
    MAX_ROW_BY_ROW = 2      # 3-4-1 from Python: 2 rows one by one take 341 ns, 3 rows in vectors 524

cdef bint row_by_row_applies(const Network *net) noexcept nogil:
    return net.layout == ROWS_IN_LANES


cdef inline void row_units(int units, const Layer *layer, const real *W, const real *x,
                           real *z) noexcept nogil:
    """z of some units, for one row and without lanes; inlined with a constant for their number."""
    cdef real s[4]
    cdef const real *bias = W + layer.n_in * layer.n_out
    cdef Py_ssize_t k
    cdef int i
    for i in range(units):
        s[i] = bias[i]
    for k in range(layer.n_in):
        for i in range(units):
            s[i] = add_product(s[i], W[k * layer.n_out + i], x[k])
    for i in range(units):
        z[i] = s[i]


cdef void predict_row(const Network *net, const real *parameters, const real *x, real *scratch,
                      real *out) noexcept nogil:
    """The raw outputs of one row, with the same bits: in vectors of rows all lanes but one would be empty.

    3-4-1 from C: 62 ns in vectors, 20 ns so. `scratch` has room for two layers of whole vectors.
    """
    cdef const Layer *layer
    cdef const real *W
    cdef real *z
    cdef Py_ssize_t j, width = scratch_width(net)
    cdef int l
    for l in range(net.n_layers):
        layer = &net.layers[l]
        W = parameters + layer.plain_offset
        z = out if is_last(net, l) else scratch + l % 2 * width
        j = 0
        while j + 4 <= layer.n_out:
            row_units(4, layer, W + j, x, z + j)
            j += 4
        while j < layer.n_out:
            row_units(1, layer, W + j, x, z + j)
            j += 1
        if is_last(net, l):
            return
        if layer.activation == RELU:
            for j in range(layer.n_out):
                z[j] = 0 if z[j] < 0 else z[j]
        else:
            activate(layer.activation, z, NULL, up_to_multiple(layer.n_out, LANES))
        x = z


cdef Py_ssize_t scratch_width(const Network *net) noexcept nogil:
    """Numbers for the widest hidden layer, in whole vectors."""
    cdef Py_ssize_t width = 0
    cdef int l
    for l in range(net.n_layers - 1):
        width = max(width, net.layers[l].n_out)
    return up_to_multiple(width, LANES)


cdef Py_ssize_t scratch_size(const Network *net) noexcept nogil:
    """Bytes for predict_row_by_row."""
    return (2 * scratch_width(net) + net.n_out * LANES) * sizeof(real)


cdef void predict_row_by_row(const Network *net, const real *parameters, const real *X, Py_ssize_t n,
                             bint with_link, real *scratch, real *out) noexcept nogil:
    cdef bint linked = with_link and net.objective.link != IDENTITY_LINK
    cdef real *z = scratch + 2 * scratch_width(net)
    cdef Py_ssize_t i, o
    for i in range(n):
        net.fast.row(net, parameters, X + i * net.n_in, scratch, out + i * net.n_out)
        if linked:  # links take vectors of rows
            for o in range(net.n_out):
                store(z + o * LANES, broadcast(out[i * net.n_out + o]))
            apply_link(net, z, LANES, 1)
            for o in range(net.n_out):
                out[i * net.n_out + o] = z[o * LANES]


cdef Py_ssize_t unpacked_rows(const Network *net) noexcept nogil:
    """For how many rows the weights are read as they are: a block's, which reads each of them once.

    64-256-256-1, AVX-512: 17 rows 27 us, 41 with packed weights, 128 rows 190 and 209. Where the weights of
    the next input lie a page apart, they push each other out of the cache: 128-1024-1, AVX2: 32 rows 96 us,
    118 packed, 256 rows 917 and 647.
    """
    cdef int l
    for l in range(net.n_layers - 1):
        if VECTOR_REGISTERS < 32 and net.layers[l].n_out * <Py_ssize_t> sizeof(real) >= 4096:
            return 32
    return 128


cdef bint unpacked_applies(const Network *net) noexcept nogil:
    """With units in lanes, where a last vector that reads on past its row stays among the parameters."""
    cdef const Layer *layer
    cdef int l
    if net.layout == ROWS_IN_LANES:
        return False  # the order is the same
    for l in range(net.n_layers - 1):
        layer = &net.layers[l]
        if layer.plain_offset + layer.n_in * layer.n_out + layer.n_out_padded > net.n_parameters:
            return False
    return True


cdef inline Weights unpacked_weights(const Network *net, int l, const real *parameters) noexcept nogil:
    """The weights of a layer as users have them.

    With units in lanes the last panel of a row reads on into the next row, in lanes that forward_panels
    clears, and the bias row into the next layer.
    """
    cdef const Layer *layer = &net.layers[l]
    cdef const real *W = parameters + layer.plain_offset
    return Weights(W, LANES, layer.n_out, W + layer.n_in * layer.n_out)


cdef inline bint reads_unpacked(const Network *net, Py_ssize_t n) noexcept nogil:
    return net.fast.unpacked_rows != NULL and n <= net.fast.unpacked_rows(net)


cdef void use_unpacked(Buffers *memory, const real *parameters) noexcept nogil:
    """Have the hidden layers' weights read as they are; only those of the last layer are packed."""
    cdef Network *net = &memory.net
    cdef int l
    for l in range(net.n_layers - 1):
        memory.weights[l] = unpacked_weights(net, l, parameters)
    pack_layer(net, net.n_layers - 1, parameters, memory.W)
