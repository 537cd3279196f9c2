"""Every depth, activation and objective: kernels against the reference, and it against differences."""

import itertools

import exactly
import mpmath
import numpy as np
import pytest
import sheet

from fastmlp import MLP, Trainer, activations, kernels, objectives, reference
from fastmlp.reference import derivation

SIZES = [  # depth 1 to 6, rows and units in lanes, no size a multiple of another
    (5, 3),
    (4, 7, 2),
    (3, 20, 1),
    (12, 33, 1),
    (6, 33, 18, 3),
    (7, 100, 90, 1),
    (3, 4, 5, 2, 1),
    (10, 70, 17, 40, 2),
    (5, 16, 16, 16, 16, 3),
    (4, 5, 6, 5, 6, 5, 2),
]
PAIRS = list(itertools.product(activations.ACTIVATIONS, objectives.OBJECTIVES))


def objective_for(name, outputs, rng):
    kind = objectives.OBJECTIVES[name]
    if name == "quantile":
        return kind(tuple(np.linspace(0.1, 0.9, outputs)) if outputs > 1 else (0.3,))
    if name == "huber":
        return kind(delta=0.7)
    if name in ("binary_log_loss", "log_loss"):
        return kind(label_smoothing=float(rng.choice([0, 0.1])))
    return kind()


def targets_for(name, n, outputs, rng):
    """Random targets that an objective takes; for log_loss of both kinds."""
    if name == "quantile":
        return rng.normal(size=(n, 1))
    if name in ("poisson", "gamma"):
        return rng.gamma(2, size=(n, outputs)) + 0.1
    if name == "binary_log_loss":
        return rng.choice([0, 1, rng.random()], size=(n, outputs))
    if name == "log_loss":
        if rng.random() < 0.5:
            return rng.integers(outputs, size=(n, 1)).astype(float)
        return rng.dirichlet(np.ones(outputs), n)
    return rng.normal(size=(n, outputs))


def draw(sizes, name, seed, dtype="float64", weighted=None):
    """(X, Y, weights, sample weights or None, objective)."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 17, 70, 300]))
    objective = objective_for(name, sizes[-1], rng)
    X, Y = rng.normal(size=(n, sizes[0])), targets_for(name, n, sizes[-1], rng)
    weights = [rng.normal(size=(a + 1, b)) / np.sqrt(a + 1) for a, b in itertools.pairwise(sizes)]
    w = None
    if rng.random() < 0.5 if weighted is None else weighted:
        w = rng.integers(0, 4, n).astype(dtype)
        w[rng.integers(n)] = 2
    arrays = [a.astype(dtype) for a in (X, Y, *weights)]
    return arrays[0], arrays[1], arrays[2:], w, objective


def exact(*arrays):
    return [a.astype(np.float64) for a in arrays]


def sizes_for(name, seed):
    chosen = SIZES[seed % len(SIZES)]
    return (*chosen[:-1], 2) if name == "log_loss" and chosen[-1] < 2 else chosen


def on_a_kink(X, Y, weights, objective, activation, bounds):
    """Whether rounding may choose another derivative than the reference has."""
    if bounds["kink"] <= 0:
        return True
    if objective.name in ("absolute_error", "quantile"):
        z = reference.forward(X, weights, activation=activation)
        return bool((np.abs(z - Y) <= bounds["z"]).any())
    return False


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("activation", "objective"), PAIRS)
def test_within_the_derived_bounds(build, paths, activation, objective, dtype):
    seed = PAIRS.index((activation, objective)) + 1000 * (dtype == "float32")
    for shift in range(2):
        sizes = sizes_for(objective, seed + 3 * shift)
        X, Y, weights, w, loss_of = draw(sizes, objective, seed + shift, dtype)
        chosen = activation
        if shift:  # another one in each layer
            names = list(activations.ACTIVATIONS)
            first = names.index(activation)
            chosen = tuple((names[first:] + names[:first])[: len(sizes) - 2])
        options = dict(sample_weight=w, activation=chosen, objective=loss_of)
        bounds = reference.error_bounds(X, Y, weights, **options, dtype=dtype)
        X64, Y64, *weights64 = exact(X, Y, *weights)
        found = kernels.forward(X, weights, activation=chosen)
        assert found.dtype == dtype
        z = reference.forward(X64, weights64, activation=chosen)
        assert (np.abs(found - z) <= bounds["z"]).all()
        loss, gradients = kernels.loss_and_gradients(X, Y, weights, **options)
        expected, expected_gradients = reference.loss_and_gradients(X64, Y64, weights64, **options)
        assert abs(loss - expected) <= bounds["loss"]
        if on_a_kink(X64, Y64, weights64, loss_of, chosen, bounds):
            continue
        for ours, theirs, bound in zip(gradients, expected_gradients, bounds["gradients"], strict=True):
            assert ours.dtype == dtype
            assert (np.abs(ours - theirs) <= bound).all()


@pytest.mark.parametrize(("activation", "objective"), PAIRS)
def test_the_reference_has_the_slopes_of_its_loss(activation, objective):
    """By central differences, in double precision."""
    sizes = (3, 5, 4, 2)
    rng = np.random.default_rng(0)
    for seed in itertools.count(PAIRS.index((activation, objective))):
        X, Y, weights, w, loss_of = draw(sizes, objective, seed, weighted=True)
        options = dict(sample_weight=w, activation=activation, objective=loss_of)
        zs = reference.chain.layers(X, weights, activation)[1]
        if min(np.abs(z).min() for z in zs) > 1e-3 and np.abs(zs[-1] - Y[:, : zs[-1].shape[1]]).min() > 1e-3:
            break  # no difference goes over a kink
    _, gradients = reference.loss_and_gradients(X, Y, weights, **options)
    step = 1e-5
    for W, dW in zip(weights, gradients, strict=True):
        direction = rng.normal(size=W.shape)
        ends = []
        for sign in (1, -1):
            W += sign * step * direction
            ends.append(reference.loss_and_gradients(X, Y, weights, **options)[0])
            W -= sign * step * direction
        slope = (ends[0] - ends[1]) / (2 * step)
        assert abs(slope - (dW * direction).sum()) <= 1e-6 * (1 + abs(slope))


@pytest.mark.parametrize("depth", range(1, 6))
@pytest.mark.parametrize(("activation", "objective"), PAIRS)
def test_the_reference_has_the_digits_of_mpmath(activation, objective, depth):
    """Loss and gradient to rounding: of differences with steps of 1e-20, in 50 digits."""
    sizes = (2, *(3, 2, 2, 2)[: depth - 1], 2)
    for seed in itertools.count(depth + PAIRS.index((activation, objective))):
        X, Y, weights, w, loss_of = draw(sizes, objective, seed, weighted=True)
        X, Y, w = X[:3], Y[:3], np.maximum(w[:3], 1)
        options = dict(activation=activation, objective=loss_of)
        zs = reference.chain.layers(X, weights, activation)[1]
        if min(np.abs(z).min() for z in zs) > 1e-6 and np.abs(zs[-1] - Y).min() > 1e-6:
            break  # rounding moves none over a kink
    found, gradients = reference.loss_and_gradients(X, Y, weights, sample_weight=w, **options)
    digits = [[[*map(mpmath.mpf, row)] for row in W.tolist()] for W in weights]
    truth = exactly.loss(X, Y, digits, w, **options)
    assert abs(found - truth) <= 1e-14 * (1 + abs(truth))
    step = mpmath.mpf(10) ** -20
    for W, dW in zip(digits, gradients, strict=True):
        for i, j in np.ndindex(dW.shape):
            ends = []
            for sign in (1, -1):
                W[i][j] += sign * step
                ends.append(exactly.loss(X, Y, digits, w, **options))
                W[i][j] -= sign * step
            assert abs(dW[i, j] - (ends[0] - ends[1]) / (2 * step)) <= 1e-14 * max(1, np.abs(dW).max())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [1, 3])
def test_the_chain_is_the_derivation_at_one_hidden_layer(m, weighted):
    X, Y, (W1, W2), w, _ = draw((4, 6, m), "squared_error", 7 + m, weighted=weighted)
    w = None if not weighted else w + 1
    L, dW1, dW2 = derivation.gradients(X, Y, W1, W2, w)
    loss, *found = sheet.loss_and_gradients(reference, X, Y, W1, W2, w)
    np.testing.assert_allclose(loss, L, rtol=1e-13)
    for ours, theirs in zip(found, (dW1, dW2), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("activation", "objective"), PAIRS)
def test_weights_are_repetitions(build, activation, objective):
    seed = PAIRS.index((activation, objective))
    sizes = sizes_for(objective, seed)
    X, Y, weights, w, loss_of = draw(sizes, objective, seed, weighted=True)
    options = dict(activation=activation, objective=loss_of)
    once, of_once = kernels.loss_and_gradients(X, Y, weights, sample_weight=w, **options)
    times = w.astype(int)
    many, of_many = kernels.loss_and_gradients(X.repeat(times, 0), Y.repeat(times, 0), weights, **options)
    np.testing.assert_allclose(once, many, rtol=1e-10, atol=1e-14)
    for a, b in zip(of_once, of_many, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
@pytest.mark.parametrize("sizes", [(3, 4, 2), (3, 40, 2), (3, 5, 5, 2), (3, 40, 33, 2), (3, 2), (3, 4, 1)])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e300])
def test_a_row_of_weight_0_is_left_out_whatever_it_holds(build, paths, sizes, objective, bad):
    if objective == "log_loss" and sizes[-1] < 2:
        sizes = (*sizes[:-1], 2)
    X, Y, weights, _, loss_of = draw(sizes, objective, 2)
    X, Y = np.tile(X, (40, 1))[:37], np.tile(Y, (40, 1))[:37]
    w = np.ones(len(X))
    w[5] = w[36] = 0
    options = dict(activation="relu", objective=loss_of)
    expected = kernels.loss_and_gradients(X, Y, weights, sample_weight=w, **options)
    X = X.copy()
    X[5], X[36, 0] = bad, bad
    found = kernels.loss_and_gradients(X, Y, weights, sample_weight=w, **options)
    assert found[0] == expected[0]
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
def test_the_bits_of_a_prediction_do_not_depend_on_the_other_rows(build, rng, activation, objective, dtype):
    seed = PAIRS.index((activation, objective))
    for sizes in (sizes_for(objective, seed), sizes_for(objective, seed + 5)):
        loss_of = objective_for(objective, sizes[-1], np.random.default_rng(0))
        net = MLP(sizes, activation=activation, objective=loss_of, dtype=dtype, seed=1)
        X = rng.normal(size=(70, sizes[0])).astype(dtype)
        together = net.predict(X)
        for rows in (1, 2, 3, 16, 17, 33):
            np.testing.assert_array_equal(net.predict(X[5 : 5 + rows]), together[5 : 5 + rows])


@pytest.mark.parametrize("sizes", [(20, 33, 1), (8, 40, 24, 1), (6, 12, 12, 3), (30, 2)])
@pytest.mark.parametrize("objective", ["squared_error", "log_loss"])
def test_any_number_of_threads_gives_the_same_bits(build, rng, sizes, objective):
    if objective == "log_loss" and sizes[-1] < 2:
        sizes = (*sizes[:-1], 3)
    n = 60_000
    X = rng.normal(size=(n, sizes[0]))
    y = rng.integers(sizes[-1], size=n) if objective == "log_loss" else rng.normal(size=(n, sizes[-1]))
    results = []
    for n_threads in (1, 2, 5):
        net = MLP(sizes, activation="silu", objective=objective, dtype="float64", seed=2)
        history = Trainer(net, batch_size=None, n_threads=n_threads, seed=0).fit(X, y, epochs=2)
        results.append((history.loss, net.parameters.tolist(), net.predict(X, n_threads=n_threads).tolist()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
def test_nan_and_infinity_as_in_the_reference(build, paths, activation, value):
    for sizes in ((3, 5, 4, 2), (3, 40, 33, 2)):
        X, _, weights, _, _ = draw(sizes, "squared_error", 4)
        X = np.tile(X, (40, 1))[:40]
        X[33, 1] = value
        with np.errstate(all="ignore"):
            expected = reference.forward(X, weights, activation=activation)
        found = kernels.forward(X, weights, activation=activation)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        if np.isnan(value):
            assert np.isnan(found[33]).all()
