# A network, and how its parameters lie in memory.
#
# A network is a chain of layers: layer l takes a_{l-1} (X for the first) to z_l = [a_{l-1}, 1] W_l, and
# a_l = f_l(z_l). The last layer has no activation: its z are the raw outputs, and the objective says the
# rest.
#
# Design.
# (a) One pass: a block of rows goes forward, to its loss and back into the gradient while it is in cache.
#     Nothing of size rows * units exists.
# (b) Two layouts. The LANES of a vector are units (layers_units.pxi), or rows where the layers are too narrow
#     to fill vectors (layers_rows.pxi).
# (c) Parameters, gradient and moments lie in the order that the kernels read, with rows in lanes the plain
#     one: W1, its bias row, W2, its bias row, …. A fit packs them at its start and unpacks them at its end.

cdef enum Layout:
    ROWS_IN_LANES
    UNITS_IN_LANES

cdef struct Layer:
    Py_ssize_t n_in, n_out
    Py_ssize_t n_out_padded         # n_out as it lies: with units in lanes up to whole vectors
    Py_ssize_t plain_offset         # where W begins among the parameters as users have them,
    Py_ssize_t weight_offset        # and where, packed, W without its bias row,
    Py_ssize_t bias_offset          # and that row
    Py_ssize_t transposed_offset    # where the weights begin among the transposed ones (layers_units.pxi)
    int activation                  # of a hidden layer
    bint slope_from_input           # its derivative needs z, not a: the forward pass keeps the derivative

cdef struct Network:
    int n_layers
    Layer *layers
    Layout layout
    Py_ssize_t n_in, n_out
    Py_ssize_t n_parameters         # as users have them
    Py_ssize_t size                 # numbers in a packed parameter vector, up to whole vectors
    Py_ssize_t transposed_size
    Py_ssize_t block                # rows in a block, whole vectors; set for each pass (blocks_for)
    Py_ssize_t first_cache, second_cache    # of a core, in bytes
    double flops_per_row
    Objective objective
    FastPath fast                   # what replaces the chain's functions; NULL: nothing does

cdef struct Weights:                # of a layer, for a forward pass
    const real *W                   # units in lanes: a vector for each panel p and input k, p W_p + k W_k
    Py_ssize_t W_p, W_k
    const real *bias


cdef inline Py_ssize_t up_to_multiple(Py_ssize_t x, Py_ssize_t of) noexcept nogil:
    return ceiling(x, of) * of


cdef inline Py_ssize_t vectors(Py_ssize_t numbers) noexcept nogil:
    return ceiling(numbers, LANES)


cdef inline bint is_last(const Network *net, int l) noexcept nogil:
    return l == net.n_layers - 1


cdef double layer_flops(const Layer *layer) noexcept nogil:
    """Of a row, forward and backward, all three products; 20 for an activation that is no selection."""
    return 6.0 * layer.n_in * layer.n_out + (20.0 * layer.n_out if layer.activation > LAST_CHEAP else 0)


cdef Layout choose_layout(const Network *net) noexcept nogil:
    """Rows in lanes are better where vectors of units would be few, or only partly filled.

    Measured with one hidden layer, in shares of the FMA peak: rows in lanes some 70 %; units some 87 %, of
    which n_out / n_out_padded is of use. Below 16 units a layer has too few vectors to hide the 4 cycles of
    a multiply-add (4-8-1, AVX2: 25 % with units in lanes, 66 % with rows); above 64 there are more sums of
    rows than the first-level cache holds.
    """
    cdef double rows_cost = 0, units_cost = 0, flops, filled
    cdef Py_ssize_t units
    cdef const Layer *layer
    cdef int l
    if net.n_layers == 1:
        return ROWS_IN_LANES
    for l in range(net.n_layers):
        layer = &net.layers[l]
        units = layer.n_in if is_last(net, l) else layer.n_out  # what the vectors of the layer are made of
        flops = layer_flops(layer)
        filled = <double> units / up_to_multiple(units, LANES)
        rows_cost += flops * (1.0 / 65 if units <= 64 else 1e3)
        units_cost += flops * (1.0 / (80 * filled) if units >= 16 else 1.0 / 20)
    return ROWS_IN_LANES if rows_cost < units_cost else UNITS_IN_LANES


cdef Py_ssize_t numbers_per_row(const Network *net) noexcept nogil:
    """That a row takes in a block: X, what the hidden layers give, raw outputs and targets."""
    cdef Py_ssize_t numbers = net.n_in + 2 * net.n_out
    cdef int l
    for l in range(net.n_layers - 1):
        numbers += net.layers[l].n_out_padded * (2 if net.layers[l].slope_from_input else 1)
    return numbers


cdef Py_ssize_t max_block_rows(const Network *net) noexcept nogil:
    """Rows whose numbers stay in cache.

    With units in lanes block and weights must fit the second level (54-256-256-256-7, n = 4000, float64,
    2 MB: 5 to 10 % faster than with blocks for 512 KB). With rows in lanes there are few operations for each
    number loaded, and the block must fit the first; below 8 vectors, adding to the sums would take longer
    than the sums (200-12-1: 54 % of the peak with 2 vectors, 77 % with 8).
    """
    cdef Py_ssize_t row = numbers_per_row(net) * sizeof(real)
    if net.fast.block_rows:
        return net.fast.block_rows
    if net.layout == ROWS_IN_LANES:
        return max(8 * LANES, min(32 * LANES, net.first_cache // 2 // row))
    return max(32, min(128, net.second_cache * 5 // 8 // row))


cdef double pass_flops(const Network *net, bint with_gradient, Py_ssize_t rows) noexcept nogil:
    """The operations of a pass over so many rows."""
    return rows * net.flops_per_row / (1 if with_gradient else 3)


cdef Py_ssize_t chunk_rows(const Network *net, Py_ssize_t rows) noexcept nogil:
    """Of so many rows, those in a chunk: whole blocks."""
    cdef double flops = pass_flops(net, True, rows)
    cdef double chunks = min(max(FEW_CHUNKS, min(MAX_CHUNKS, rows // MANY_ROWS)), flops / MIN_CHUNK_FLOPS)
    chunks = max(chunks, flops / FLOPS_BETWEEN_SIGNAL_CHECKS, 1)
    return up_to_multiple(<Py_ssize_t> ceil(rows / chunks), net.block)


cdef Network blocks_for(const Network *net, Py_ssize_t rows) noexcept nogil:
    """The network with the size of the blocks for passes over so many rows.

    All of about a length, and so are all chunks, so that there is as much for each thread: 256 rows of
    784-256-10 in float64 are 4 x 64, not 3 x 80 and 16 (two threads 1.72 times as fast as one, before 1.48).
    """
    cdef Network sized = net[0]
    cdef Py_ssize_t largest = max_block_rows(net)
    sized.block = 1
    if chunk_rows(&sized, rows) > largest:
        rows = chunk_rows(&sized, rows)
    sized.block = up_to_multiple(
        ceiling(rows, ceiling(rows, largest)), (2 if net.layout == ROWS_IN_LANES else 1) * LANES)
    return sized


cdef void lay_out_parameters(Network *net) noexcept nogil:
    """Set what follows from the sizes and activations of the layers."""
    cdef Py_ssize_t plain = 0, packed = 0, transposed = 0
    cdef bint units
    cdef Layer *layer
    cdef int l
    net.n_in, net.n_out = net.layers[0].n_in, net.layers[net.n_layers - 1].n_out
    net.layout = choose_layout(net)
    units = net.layout == UNITS_IN_LANES
    net.flops_per_row = 20.0 - 2.0 * net.n_in * net.layers[0].n_out  # 20 for being a row; X has no gradient
    for l in range(net.n_layers):
        layer = &net.layers[l]
        layer.plain_offset = plain
        plain += (layer.n_in + 1) * layer.n_out
        layer.n_out_padded = layer.n_out
        if units and not is_last(net, l):
            layer.n_out_padded = up_to_multiple(layer.n_out, LANES)
        layer.weight_offset = packed
        if units and is_last(net, l):
            packed += up_to_multiple(layer.n_in, LANES) * layer.n_out
        else:
            packed += layer.n_in * layer.n_out_padded
        layer.bias_offset = packed
        packed += layer.n_out_padded
        layer.transposed_offset = transposed
        if units and 0 < l < net.n_layers - 1:
            transposed += up_to_multiple(layer.n_in, LANES) * layer.n_out
        net.flops_per_row += layer_flops(layer)
    net.n_parameters, net.size, net.transposed_size = plain, up_to_multiple(packed, LANES), transposed


cdef void pack(const Network *net, const real *plain, real *packed) noexcept nogil:
    """Parameters in the kernels' order; padding is left alone."""
    cdef int l
    if net.layout == ROWS_IN_LANES:
        memcpy(packed, plain, net.n_parameters * sizeof(real))
        return
    for l in range(net.n_layers):
        pack_layer(net, l, plain, packed)


cdef void unpack(const Network *net, const real *packed, real *plain) noexcept nogil:
    """What pack does, back."""
    cdef int l
    if net.layout == ROWS_IN_LANES:
        memcpy(plain, packed, net.n_parameters * sizeof(real))
        return
    for l in range(net.n_layers):
        unpack_layer(net, l, packed, plain)


cdef void clear_padding(const Network *net, real *packed) noexcept nogil:
    """Zeros in the unused lanes of the last panels."""
    cdef const Layer *layer
    cdef Py_ssize_t panels
    cdef int l
    if net.layout == ROWS_IN_LANES:
        return
    for l in range(net.n_layers):
        layer = &net.layers[l]
        if is_last(net, l):
            if layer.n_in % LANES:
                memset(packed + layer.weight_offset + layer.n_in // LANES * layer.n_out * LANES, 0,
                       layer.n_out * LANES * sizeof(real))
        elif layer.n_out % LANES:
            panels = layer.n_out // LANES
            memset(packed + layer.weight_offset + panels * layer.n_in * LANES, 0,
                   layer.n_in * LANES * sizeof(real))
            memset(packed + layer.bias_offset + panels * LANES, 0, LANES * sizeof(real))


cdef inline Py_ssize_t panel_index(const Layer *layer, Py_ssize_t j, Py_ssize_t o) noexcept nogil:
    """Where input j of output o of the last layer lies among its packed weights."""
    return (j // LANES * layer.n_out + o) * LANES + j % LANES


cdef void pack_layer(const Network *net, int l, const real *plain, real *packed) noexcept nogil:
    """With units in lanes. Some inputs at a time: an input of the next panel is then near in W, the next one
    of the same panel in `packed`. Panel by panel, each would be a page apart in W.
    """
    cdef const Layer *layer = &net.layers[l]
    cdef const real *W = plain + layer.plain_offset
    cdef real *to = packed + layer.weight_offset
    cdef Py_ssize_t j, k, k0, o, p
    memcpy(packed + layer.bias_offset, W + layer.n_in * layer.n_out, layer.n_out * sizeof(real))
    if is_last(net, l) and layer.n_out == 1:  # the order is the same; 16-64-1, one row: 100 ns less
        memcpy(to, W, layer.n_in * sizeof(real))
        return
    if is_last(net, l):
        for j in range(layer.n_in):
            for o in range(layer.n_out):
                to[panel_index(layer, j, o)] = W[j * layer.n_out + o]
        return
    for k0 from 0 <= k0 < layer.n_in by 8:
        for p in range(layer.n_out_padded // LANES):
            for k in range(k0, min(k0 + 8, layer.n_in)):
                memcpy(to + (p * layer.n_in + k) * LANES, W + k * layer.n_out + p * LANES,
                       min(LANES, layer.n_out - p * LANES) * sizeof(real))


cdef void unpack_layer(const Network *net, int l, const real *packed, real *plain) noexcept nogil:
    cdef const Layer *layer = &net.layers[l]
    cdef real *W = plain + layer.plain_offset
    cdef const real *of = packed + layer.weight_offset
    cdef Py_ssize_t j, k, k0, o, p
    memcpy(W + layer.n_in * layer.n_out, packed + layer.bias_offset, layer.n_out * sizeof(real))
    if is_last(net, l) and layer.n_out == 1:
        memcpy(W, of, layer.n_in * sizeof(real))
        return
    if is_last(net, l):
        for j in range(layer.n_in):
            for o in range(layer.n_out):
                W[j * layer.n_out + o] = of[panel_index(layer, j, o)]
        return
    for k0 from 0 <= k0 < layer.n_in by 8:
        for p in range(layer.n_out_padded // LANES):
            for k in range(k0, min(k0 + 8, layer.n_in)):
                memcpy(W + k * layer.n_out + p * LANES, of + (p * layer.n_in + k) * LANES,
                       min(LANES, layer.n_out - p * LANES) * sizeof(real))


cdef inline Weights packed_weights(const Network *net, int l, const real *W) noexcept nogil:
    cdef const Layer *layer = &net.layers[l]
    return Weights(W + layer.weight_offset, layer.n_in * LANES, LANES, W + layer.bias_offset)


cdef void transpose_weights(const Network *net, const real *W, real *transposed) noexcept nogil:
    """With units in lanes, for the input gradients: the weights of the layers between hidden layers with
    their inputs in the lanes, (panels of n_in, n_out) vectors. The padding of the last panel stays zero.
    """
    cdef const Layer *layer
    cdef const real *of
    cdef real *to
    cdef Py_ssize_t j, k
    cdef int l
    for l in range(1, net.n_layers - 1):
        layer = &net.layers[l]
        of = W + layer.weight_offset
        to = transposed + layer.transposed_offset
        for j in range(layer.n_out):
            for k in range(layer.n_in):
                to[(k // LANES * layer.n_out + j) * LANES + k % LANES] = of[
                    (j // LANES * layer.n_in + k) * LANES + j % LANES]
