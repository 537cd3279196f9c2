"""The kernels on any numbers: against other arithmetic, and by what must hold whatever the numbers are.

Hypothesis draws sizes, builds and a seed; the numbers come from the seed, as drawing thousands of them one by
one would take most of the time.
"""

import itertools
from dataclasses import asdict
from functools import partial

import mpmath
import numpy as np
import pytest
import sheet
from hypothesis import assume, given
from hypothesis import strategies as st

from fastmlp import MLP, SGD, Adam, AdamW, Trainer, _checks, kernels, reference, scaling
from fastmlp.objectives import SquaredError

# Networks of every layout and fast path, with units that fill no vector; rows of several blocks.
PATHS = [kernels.fast_path_names(), ()]  # all specialisations, and none
builds = st.tuples(st.sampled_from(kernels.AVAILABLE_ISAS), st.sampled_from(PATHS))
dtypes = st.sampled_from(["float32", "float64"])
seeds = st.integers(0, 2**32 - 1)
rows = st.one_of(st.integers(1, 40), st.sampled_from([64, 129, 300]))
units = st.integers(1, 40)
outputs = st.sampled_from([1, 1, 2, 3, 10])
sizes = st.tuples(rows, units, units, outputs)
powers = st.integers(-20, 20)


def normal_numbers(sizes, weighted, dtype, seed):
    n, d, h, m = sizes
    rng = np.random.default_rng(seed)
    shapes = (n, d), (n, m), (d + 1, h), (h + 1, m)
    X, Y, W1, W2 = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    w = rng.uniform(0.1, 2, n).astype(dtype) * rng.integers(0, 3, n).astype(dtype)
    w[rng.integers(n)] = 1
    return X, Y, W1, W2, w if weighted else None


def of_rows(keep, X, Y, W1, W2, w):
    return X[keep], Y[keep], W1, W2, None if w is None else w[keep]


def in_type(dtype, *arrays):
    return [None if a is None else a.astype(dtype) for a in arrays]


def rows_away_from_kink(X, W1, eps):
    """The rows in which no B could be rounded to the other side of 0: the others have two right gradients."""
    A = np.hstack([X, np.ones((len(X), 1))]).astype(np.float64)
    W1 = W1.astype(np.float64)
    return (np.abs(A @ W1) > 2 * len(W1) * eps * (np.abs(A) @ np.abs(W1))).all(axis=1)


def assert_within(found, expected, bound):
    error = np.abs(found - expected)
    assert np.all(error <= bound), f"{np.max(error / np.maximum(bound, 1e-300))} times the bound"


def assert_all_within(found, expected, bounds):
    for name, a, b in zip(("L", "dW1", "dW2"), found, expected, strict=True):
        assert_within(a, b, bounds[name])


def assert_same_bits(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


# Against other arithmetic.


@given(build=builds, sizes=sizes, weighted=st.booleans(), seed=seeds)
def test_gradients_against_central_differences(build, sizes, weighted, seed):
    """Along a direction of signs, so that every derivative counts.

    As a function of W1 alone, or of W2 alone, L is a polynomial of degree 2 as long as no B changes its sign:
    the central difference is then its derivative for any step, but for rounding. The numbers are quarters,
    the hidden biases odd multiples of 1/32, and so is every B; with a step that moves them by at most 1/64
    none comes to 0. All numbers up to F are exact in float64, hence the losses right to n + m + 4 roundings.
    """
    n, d, h, m = sizes
    rng = np.random.default_rng(seed)
    X, Y, W1, W2 = (rng.integers(-8, 9, shape) / 4 for shape in ((n, d), (n, m), (d + 1, h), (h + 1, m)))
    W1[-1] += 1 / 32
    w = rng.integers(1, 4, n).astype(float) if weighted else None
    signs = [rng.choice([-1.0, 1.0], W.shape) for W in (W1, W2)]
    eps = np.finfo(float).eps
    bounds = sheet.error_bounds(X, Y, W1, W2, w, eps=eps)
    step_of_W1 = 2.0 ** -np.ceil(np.log2(64 * (np.abs(X).sum(axis=1).max() + 1)))
    with kernels.use(*build):
        gradients = sheet.loss_and_gradients(kernels, X, Y, W1, W2, w)[1:]
        for i, step in enumerate([step_of_W1, 0.25]):
            ends = []
            for side in (step, -step):
                weights = [W1, W2]
                weights[i] = weights[i] + side * signs[i]
                ends.append(sheet.loss_and_gradients(kernels, X, Y, *weights, w)[0])
            found = np.vdot(gradients[i], signs[i])
            difference = (ends[0] - ends[1]) / (2 * step)
            rounding = (n + m + 4) * eps * sum(ends) / (2 * step)
            assert_within(found, difference, rounding + bounds[("dW1", "dW2")[i]].sum())


def in_50_digits(X, Y, W1, W2, w):
    """E, L, dW1 and dW2, as reference.py has them."""

    def product(U, V):
        columns = list(zip(*V, strict=True))
        return [[mpmath.fdot(zip(row, column, strict=True)) for column in columns] for row in U]

    def transposed(U):
        return list(zip(*U, strict=True))

    with mpmath.workdps(50):
        X, Y, W1, W2 = ([[mpmath.mpf(x) for x in row] for row in U.tolist()] for U in (X, Y, W1, W2))
        w = [mpmath.mpf(x) for x in ([1] * len(X) if w is None else w.tolist())]
        A = [[*row, mpmath.mpf(1)] for row in X]
        B = product(A, W1)
        D = [[*(max(b, 0) for b in row), mpmath.mpf(1)] for row in B]
        E = product(D, W2)
        F = [[e - y for e, y in zip(*pair, strict=True)] for pair in zip(E, Y, strict=True)]
        share = [x / (len(Y[0]) * sum(w)) for x in w]
        L = sum(s * sum(f * f for f in row) for s, row in zip(share, F, strict=True))
        dE = [[2 * s * f for f in row] for s, row in zip(share, F, strict=True)]
        dC = product(dE, transposed(W2[:-1]))
        dB = [[c if b > 0 else 0 for b, c in zip(*pair, strict=True)] for pair in zip(B, dC, strict=True)]
        nodes = E, L, product(transposed(A), dB), product(transposed(D), dE)
    return [np.array(node).astype(float) for node in nodes]


@given(
    build=builds,
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 3, 4, 5, 8, 17]), outputs),
    weighted=st.booleans(),
    seed=seeds,
)
def test_float64_against_50_digits(build, sizes, weighted, seed):
    """To 1e-12, element by element, of the sum of the absolute terms.

    Of the result itself no arithmetic of 16 digits can promise that, where terms cancel; against the largest
    element (normwise) a small one could be all wrong. With terms that are all positive, so that nothing
    cancels, the reference gives the sums of absolute terms. For these sizes the theory says 1e-14.
    """
    arguments = normal_numbers(sizes, weighted, "float64", seed)
    assume(rows_away_from_kink(arguments[0], arguments[2], np.finfo(float).eps).all())
    E, *expected = in_50_digits(*arguments)
    X, Y, W1, W2 = (np.abs(a) for a in arguments[:4])
    L, dW1, dW2 = sheet.loss_and_gradients(reference, X, -Y, W1, W2, arguments[4])
    with kernels.use(*build):
        found = sheet.loss_and_gradients(kernels, *arguments)
        assert_within(
            sheet.forward(kernels, arguments[0], *arguments[2:4]),
            E,
            1e-12 * sheet.forward(reference, X, W1, W2),
        )
    assert_all_within(found, expected, {"L": 1e-12 * L, "dW1": 1e-12 * dW1, "dW2": 1e-12 * dW2})


@given(build=builds, dtype=dtypes, sizes=sizes, weighted=st.booleans(), seed=seeds)
def test_within_the_derived_bound_of_the_reference(build, dtype, sizes, weighted, seed):
    """E and L for all rows: ReLU makes no error larger. Gradients for those away from its kink."""
    arguments = normal_numbers(sizes, weighted, dtype, seed)
    X, Y, W1, W2, w = arguments
    eps = np.finfo(dtype).eps
    bounds = sheet.error_bounds(*arguments, eps=eps)
    X64, Y64, V1, V2, w64 = exact = in_type("float64", *arguments)
    keep = rows_away_from_kink(X, W1, eps)
    if w is not None:
        keep &= w.dot(keep) > 0  # the weights of those that stay must not be all 0
    with kernels.use(*build):
        assert_within(sheet.forward(kernels, X, W1, W2), sheet.forward(reference, X64, V1, V2), bounds["E"])
        loss = sheet.loss_and_gradients(reference, X64, Y64, V1, V2, w64)[0]
        assert_within(sheet.loss_and_gradients(kernels, X, Y, W1, W2, w)[0], loss, bounds["L"])
        assume(keep.any())
        assert_all_within(
            sheet.loss_and_gradients(kernels, *of_rows(keep, *arguments)),
            sheet.loss_and_gradients(reference, *of_rows(keep, *exact)),
            sheet.error_bounds(*of_rows(keep, *arguments), eps=eps),
        )


# Numbers of any size. The truth is calculated in long double, whose range neither dtype leaves on x86-64 and
# on arm64 with Linux.

decades = st.tuples(*[st.sampled_from([0, 3, 12, 30, 150])] * 5)
small = st.tuples(st.integers(1, 24), st.integers(1, 12), st.sampled_from([1, 2, 4, 5, 13, 16, 33]), outputs)


def ill_scaled(rng, shape, dtype, decades):
    """Magnitudes up and down by so many decades, and among them zeros of both signs and subnormals."""
    limits = np.finfo(dtype)
    decades = min(decades, 30 if dtype == "float32" else 150)
    numbers = rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-decades, decades, shape)
    special = [0.0, -0.0, limits.smallest_subnormal, -limits.smallest_subnormal, limits.tiny / 3, limits.tiny]
    return np.where(rng.random(shape) < 0.1, rng.choice(special, shape), numbers).astype(dtype)


def ill_scaled_case(sizes, decades, cancelling, weighted, dtype, seed):
    n, d, h, m = sizes
    rng = np.random.default_rng(seed)
    shapes = (n, d), (n, m), (d + 1, h), (h + 1, m), n
    X, Y, W1, W2, w = (ill_scaled(rng, *each) for each in zip(shapes, [dtype] * 5, decades, strict=True))
    if cancelling:  # the last feature takes back what the first has given
        X[:, -1] = X[:, 0]
        W1[-2] = -W1[0]
    w = np.abs(w)
    w[rng.integers(n)] = 1
    return X, Y, W1, W2, w if weighted else None


def absolute_nodes(X, Y, W1, W2, w, tiny):
    """The nodes from absolute values, the largest in any order in which a kernel calculates; and their peaks.

    A rounded product ab is off by at most eps (|ab| + tiny), where tiny is the smallest normal number: eps
    tiny is the distance of the subnormal ones. So with a tiny beside each product, eps times the number of
    roundings bounds the error for numbers of any size; and where a peak is far from overflow, no number on
    the way has overflowed.
    """
    X, Y, W1, W2 = (np.abs(a).astype(np.longdouble) for a in (X, Y, W1, W2))
    n, m = Y.shape
    w = np.ones(n, np.longdouble) if w is None else w.astype(np.longdouble)
    A = np.hstack([X, np.ones((n, 1))])
    B = A @ W1 + len(W1) * tiny
    D = np.hstack([B, np.ones((n, 1))])
    E = D @ W2 + len(W2) * tiny
    F = E + Y
    wF = w[:, None] * F + tiny
    scale = 2 / (m * w.sum()) + tiny
    dE = scale * wF + tiny
    dW1 = A.T @ (dE @ W2[:-1].T + m * tiny) + n * tiny
    dW2 = D.T @ dE + n * tiny
    H = (wF * F + tiny).sum()
    on_the_way = [E, wF, scale, dE, dW1, dW2]
    if m == 1:
        # W2 comes after the sums over the rows, and in a small network the scale does so too
        AF, DF = A.T @ wF + n * tiny, D.T @ wF + n * tiny
        before_W2 = np.maximum(A.T @ dE + n * tiny, scale * AF + tiny)
        dW1 = np.maximum(dW1, before_W2 * W2[:-1].T + tiny)
        dW2 = np.maximum(dW2, scale * DF + tiny)
        on_the_way += [AF, DF, before_W2, dW1, dW2]
    nodes = {"B": B, "E": E, "L": H / (m * w.sum()), "dW1": dW1, "dW2": dW2}
    # the largest number on the way to the loss, and to the gradients
    return nodes, max(E.max(), wF.max(), H, nodes["L"]), max(np.max(node) for node in on_the_way)


def assert_right_or_overflown(found, expected, node, roundings, limits, on_the_way):
    """Never a wrong finite number; and finite wherever nothing can overflow on the way."""
    finite = np.isfinite(found)
    right = np.abs(np.where(finite, found, 0) - expected) <= roundings * limits.eps * node
    assert np.all(right | ~finite)
    assert np.all(finite | (on_the_way > limits.max / 4))


@given(
    build=builds,
    dtype=dtypes,
    sizes=small,
    decades=decades,
    cancelling=st.booleans(),
    weighted=st.booleans(),
    seed=seeds,
)
@np.errstate(all="ignore")
def test_ill_scaled_numbers_are_right_or_overflow(build, dtype, sizes, decades, cancelling, weighted, seed):
    """Rows where B itself may overflow are left out: there, ReLU makes 0 of -infinity."""
    arguments = ill_scaled_case(sizes, decades, cancelling, weighted, dtype, seed)
    limits = np.finfo(dtype)
    n, d, h, m = sizes
    roundings = 2 * (d + 1) + 2 * (h + 1) + n + m + 8
    X, _, W1, W2, _ = arguments
    nodes, _, _ = absolute_nodes(*arguments, limits.tiny)
    keep = (nodes["B"] < limits.max / 4).all(axis=1)
    assume(keep.any())
    X64, _, V1, V2, _ = exact = in_type(np.longdouble, *arguments)
    with kernels.use(*build):
        E = sheet.forward(kernels, X, W1, W2)[keep]
        assert_right_or_overflown(
            E,
            sheet.forward(reference, X64, V1, V2)[keep],
            nodes["E"][keep],
            roundings,
            limits,
            nodes["E"][keep],
        )
        # and now away from the kink; a B of nothing but zeros is on its left in any arithmetic
        nothing = np.abs(np.hstack([X64, np.ones((n, 1))])) @ np.abs(V1) == 0
        B = np.hstack([X64, np.ones((n, 1))]) @ V1
        keep &= (nothing | (np.abs(B) > roundings * limits.eps * nodes["B"])).all(axis=1)
        if weighted:
            keep &= arguments[4].dot(keep) > 0
        assume(keep.any())
        nodes, *peaks = absolute_nodes(*of_rows(keep, *arguments), limits.tiny)
        found = sheet.loss_and_gradients(kernels, *of_rows(keep, *arguments))
        exact = of_rows(keep, *exact)
        expected = reference.graph(*exact)["L"], *sheet.loss_and_gradients(reference, *exact)[1:]
    peaks = peaks[0], peaks[1], peaks[1]
    for name, a, b, peak in zip(("L", "dW1", "dW2"), found, expected, peaks, strict=True):
        assert_right_or_overflown(a, b, nodes[name], roundings, limits, peak)


@given(build=builds, dtype=dtypes, sizes=small, decades=decades, seed=seeds)
@np.errstate(all="ignore")
def test_overflow_is_where_the_reference_has_it(build, dtype, sizes, decades, seed):
    """With nothing negative an overflow does not depend on the order: infinity, and NaN where 0 meets it."""
    largest, tiny = (np.longdouble(limit) for limit in (np.finfo(dtype).max, np.finfo(dtype).tiny))
    X, Y, W1, W2, _ = ill_scaled_case(sizes, decades, False, False, dtype, seed)
    X, Y, W1, W2 = np.abs(X), -np.abs(Y), np.abs(W1), np.abs(W2)
    nodes = reference.graph(*in_type(np.longdouble, X, Y, W1, W2))
    near = [(nodes[name] > largest / 4) & (nodes[name] < 4 * largest) for name in "BEG"]
    near.append((nodes["B"] > 0) & (nodes["B"] < tiny))
    keep = ~np.any(np.hstack(near), axis=1)  # no number so close to the limit, or to 0, that rounding decides
    assume(keep.any())
    X, Y = X[keep], Y[keep]
    expected = sheet.forward(reference, X, W1, W2)
    with kernels.use(*build):
        found = sheet.forward(kernels, X, W1, W2)
        loss, dW1, dW2 = sheet.loss_and_gradients(kernels, X, Y, W1, W2)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    overflows = not np.isfinite(reference.graph(X, Y, W1, W2)["G"]).all()
    assert not (overflows and np.isfinite(loss))
    truth = sheet.loss_and_gradients(reference, *in_type(np.longdouble, X, Y, W1, W2))
    for a, b in zip((dW1, dW2), truth[1:], strict=True):
        assert not np.isfinite(a[b > 4 * largest]).any()


# What must hold whatever the numbers are.


@pytest.mark.parametrize("build", [*itertools.product(kernels.AVAILABLE_ISAS, PATHS)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(
    sizes=st.tuples(st.integers(1, 600), units, units, outputs),
    count=st.integers(1, 300),
    few=st.integers(1, 16),
    seed=seeds,
)
def test_predictions_do_not_depend_on_the_other_rows(build, dtype, sizes, count, few, seed):
    X, _, W1, W2, _ = normal_numbers(sizes, False, dtype, seed)
    n, d, h, m = sizes
    rng = np.random.default_rng(seed)
    first = rng.integers(n)
    net = MLP((d, h, m), dtype=dtype)
    net.weights[0][:], net.weights[1][:] = W1, W2
    with kernels.use(*build):
        together = sheet.forward(kernels, X, W1, W2)
        for part in (rng.integers(0, n, count), slice(first, first + count), slice(few)):
            assert_same_bits([sheet.forward(kernels, X[part], W1, W2)], [together[part]])
            assert_same_bits([net.predict(X[part]).ravel()], [together[part].ravel()])


@given(build=builds, dtype=dtypes, sizes=sizes, seed=seeds)
def test_whole_weights_are_repeated_rows_and_zero_leaves_out(build, dtype, sizes, seed):
    X, Y, W1, W2, _ = normal_numbers(sizes, False, dtype, seed)
    eps = np.finfo(dtype).eps
    keep = rows_away_from_kink(X, W1, eps)
    assume(keep.any())
    X, Y = X[keep], Y[keep]
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, len(X))
    counts[rng.integers(len(X))] = 3
    weighted = X, Y, W1, W2, counts.astype(dtype)
    repeated = np.repeat(X, counts, axis=0), np.repeat(Y, counts, axis=0), W1, W2
    bounds = [sheet.error_bounds(*each, eps=eps) for each in (weighted, repeated)]
    with kernels.use(*build):
        assert_all_within(
            sheet.loss_and_gradients(kernels, *weighted),
            sheet.loss_and_gradients(kernels, *repeated),
            {name: bounds[0][name] + bounds[1][name] for name in ("L", "dW1", "dW2")},
        )


@given(build=builds, dtype=dtypes, sizes=sizes, weighted=st.booleans(), seed=seeds)
def test_gradients_follow_the_hidden_units(build, dtype, sizes, weighted, seed):
    """Units in another order: the same loss, and their gradients in that order."""
    arguments = normal_numbers(sizes, weighted, dtype, seed)
    eps = np.finfo(dtype).eps
    keep = rows_away_from_kink(arguments[0], arguments[2], eps)
    assume(keep.any())
    arguments = of_rows(keep, *arguments)
    X, Y, W1, W2, w = arguments
    assume(w is None or w.any())
    order = np.random.default_rng(seed).permutation(W1.shape[1])
    with_bias = np.append(order, len(order))
    bounds = sheet.error_bounds(*arguments, eps=eps)
    with kernels.use(*build):
        loss, dW1, dW2 = sheet.loss_and_gradients(kernels, *arguments)
        found = sheet.loss_and_gradients(kernels, X, Y, W1[:, order], W2[with_bias], w)
    assert_within(found[0], loss, 2 * bounds["L"])
    assert_within(found[1], dW1[:, order], 2 * bounds["dW1"][:, order])
    assert_within(found[2], dW2[with_bias], 2 * bounds["dW2"][with_bias])


@given(build=builds, dtype=dtypes, sizes=sizes, weighted=st.booleans(), power=powers, seed=seeds)
def test_powers_of_two_pass_through_to_the_bit(build, dtype, sizes, weighted, power, seed):
    """They change exponents alone, as long as nothing leaves the range of normal numbers."""
    X, Y, W1, W2, w = normal_numbers(sizes, weighted, dtype, seed)
    c = np.array(2.0**power, dtype)
    first = np.ones((len(W1), 1), dtype)
    first[:-1] /= c  # features in other units: their weights, but not the biases
    second = np.ones((len(W2), 1), dtype)
    second[:-1] /= c  # hidden values in other units
    with kernels.use(*build):
        E = sheet.forward(kernels, X, W1, W2)
        loss, dW1, dW2 = sheet.loss_and_gradients(kernels, X, Y, W1, W2, w)
        # targets and predictions in other units
        assert_same_bits([sheet.forward(kernels, X, W1, c * W2)], [c * E])
        found = sheet.loss_and_gradients(kernels, X, c * Y, W1, c * W2, w)
        assert_same_bits(found, (loss * float(c) ** 2, dW1 * c**2, dW2 * c))
        assert_same_bits([sheet.forward(kernels, c * X, first * W1, W2)], [E])
        found = sheet.loss_and_gradients(kernels, c * X, Y, first * W1, W2, w)
        assert_same_bits(found, (loss, dW1 / first, dW2))
        assert_same_bits([sheet.forward(kernels, X, c * W1, second * W2)], [E])
        found = sheet.loss_and_gradients(kernels, X, Y, c * W1, second * W2, w)
        assert_same_bits(found, (loss, dW1 / c, dW2 / second))
        if weighted:
            assert_same_bits(sheet.loss_and_gradients(kernels, X, Y, W1, W2, c * w), (loss, dW1, dW2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("largest", [2.0**-33, 1.0, 2.0**111])
def test_weights_of_common_size_are_used_as_they_are(dtype, largest):
    w = np.array([largest, np.finfo(dtype).smallest_subnormal], dtype)
    assert _checks.sample_weights("w", w, w.dtype, rows=2) is w


@given(build=builds, dtype=dtypes, sizes=small, share=st.floats(0, 1), seed=seeds)
def test_weights_count_by_their_ratios(build, dtype, sizes, share, seed):
    """As large or small as the dtype has them, subnormal numbers included."""
    X, Y, W1, W2, _ = normal_numbers(sizes, False, dtype, seed)
    limits = np.finfo(dtype)
    eps = limits.eps
    keep = rows_away_from_kink(X, W1, eps)
    assume(keep.any())
    X, Y = X[keep], Y[keep]
    low, high = np.log2(limits.smallest_subnormal), np.log2(limits.max) - 8  # the sum must be finite
    factor = np.array(2.0 ** np.floor(low + share * (high - low)), dtype)
    w = np.random.default_rng(seed).integers(1, 4, len(X)).astype(dtype)  # whole, so that no bit is lost
    with kernels.use(*build):
        assert_all_within(
            sheet.loss_and_gradients(kernels, X, Y, W1, W2, factor * w),
            sheet.loss_and_gradients(kernels, X, Y, W1, W2, w),
            {name: 2 * bound for name, bound in sheet.error_bounds(X, Y, W1, W2, w, eps=eps).items()},
        )


optimizers = st.one_of(
    st.builds(SGD, st.floats(1e-4, 0.03)),
    st.builds(SGD, st.floats(1e-4, 0.01), momentum=st.floats(0.1, 0.9), nesterov=st.booleans()),
    st.builds(Adam, st.floats(1e-4, 0.03), beta1=st.floats(0, 0.95), beta2=st.floats(0.5, 0.999)),
    st.builds(AdamW, st.floats(1e-4, 0.03), weight_decay=st.floats(0, 0.2)),
)


@given(
    build=builds,
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 10), st.sampled_from([1, 2, 4, 7, 16, 19]), outputs),
    batches=st.integers(1, 4),
    epochs=st.integers(1, 3),
    optimizer=optimizers,
    l2=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
    shuffle=st.booleans(),
    seed=seeds,
)
def test_fits_are_those_of_the_reference(
    build, sizes, batches, epochs, optimizer, l2, weighted, shuffle, seed
):
    """To 1e-9 of the largest parameter and of each loss: rounding, after up to a dozen steps."""
    n, d, h, m = sizes
    X, Y, W1, W2, w = normal_numbers(sizes, weighted, "float64", seed)
    batch_size = -(-n // batches)
    net = MLP((d, h, m), dtype="float64")
    net.weights[0][:], net.weights[1][:] = W1, W2 = W1 / np.sqrt(d + 1), W2 / np.sqrt(h + 1)
    with kernels.use(*build):
        trainer = Trainer(net, optimizer, batch_size=batch_size, l2=l2, shuffle=shuffle, seed=seed)
        history = trainer.fit(X, Y, epochs, sample_weight=w)

    step = partial(
        reference.sgd_step if isinstance(optimizer, SGD) else reference.adam_step, **asdict(optimizer)
    )
    moments, steps, losses, rng = np.zeros((2, net.parameters.size)), 0, [], np.random.default_rng(seed)
    for _ in range(epochs):
        order = reference.permutation(n, rng) if shuffle and batch_size < n else np.arange(n)
        parts = [order[i : i + batch_size] for i in range(0, n, batch_size)]
        steps, loss = reference.train_epoch(
            X, Y, (W1, W2), moments, steps, step, parts, sample_weight=w, l2=l2
        )
        losses.append(loss)
    expected = np.concatenate([W1.ravel(), W2.ravel()])
    assert history.stop_reason == "epochs"
    assert_within(net.parameters, expected, 1e-9 * np.abs(expected).max())
    assert_within(np.array(history.loss), np.array(losses), 1e-9 * np.array(losses))


@given(
    dtype=dtypes, sizes=sizes, weighted=st.booleans(), offset=st.sampled_from([0, 1, 1e3, 1e6]), seed=seeds
)
def test_folding_the_scaling_and_back(dtype, sizes, weighted, offset, seed):
    """The same weights again, and on raw data the predictions of the standardised problem."""
    X, Y, W1, W2, w = normal_numbers(sizes, weighted, "float64", seed)
    W1, W2 = W1.astype(dtype), W2.astype(dtype)
    rng = np.random.default_rng(seed)
    X = X * 10 ** rng.uniform(-3, 3, X.shape[1]) + offset * rng.normal(size=X.shape[1])
    Y = Y * 10 ** rng.uniform(-3, 3, Y.shape[1]) + offset * rng.normal(size=Y.shape[1])
    measured = scaling.fit_scaling(X, Y, w, SquaredError(), Y.shape[1])
    V1, V2 = W1.copy(), W2.copy()
    scaling.fold((V1, V2), measured)

    # each raw weight is rounded once on the way there and once on the way back; the sums in float64
    eps = 2 * np.finfo(dtype).eps + (len(W1) + 4) * np.finfo(float).eps
    shift_x, shift_y = np.abs(measured.mean_x / measured.scale_x), np.abs(measured.mean_y / measured.scale_y)
    bound1, bound2 = np.abs(W1, dtype=float), np.abs(W2, dtype=float)
    bound1[-1] += 2 * shift_x @ bound1[:-1]
    bound2[-1] += 2 * shift_y
    U1, U2 = V1.copy(), V2.copy()
    scaling.unfold((U1, U2), measured)
    assert_within(U1, W1, eps * bound1)
    assert_within(U2, W2, eps * bound2)

    Xs, _ = scaling.transform(X, Y, measured)
    raw = sheet.forward(reference, X, V1.astype(float), V2.astype(float))
    standard = (
        sheet.forward(reference, Xs, W1.astype(float), W2.astype(float)) * measured.scale_y + measured.mean_y
    )
    # X / scale and mean / scale, whose difference Xs is, may be much larger than it
    D = np.hstack([(np.abs(X) / measured.scale_x + shift_x) @ bound1[:-1] + bound1[-1], np.ones((len(X), 1))])
    bound = (D @ np.abs(W2, dtype=float) + shift_y) * measured.scale_y
    assert_within(raw, standard, (eps + 2 * len(W2) * np.finfo(float).eps) * 2 * bound)
