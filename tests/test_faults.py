"""What must never happen: each fault injected for real. A named error, or the right result."""

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, Trainer, _checks, kernels, reference

N, D, H, M = 6, 3, 4, 2


@pytest.fixture
def arrays(rng):
    shapes = {"X": (N, D), "Y": (N, M), "W1": (D + 1, H), "W2": (H + 1, M), "sample_weight": (N,)}
    return {name: np.abs(rng.normal(size=shape)) for name, shape in shapes.items()}


def every_way(arrays):
    """{what is called: (call, the names its arguments have there)} for one set of arguments."""
    net = MLP((D, H, M), "float64")
    X, Y, w = arrays["X"], arrays["Y"], arrays["sample_weight"]
    return {
        "kernels.forward": (lambda: kernels.forward(X, arrays["W1"], arrays["W2"]), {"X", "W1", "W2"}),
        "kernels.loss_and_gradients": (lambda: kernels.loss_and_gradients(**arrays), set(arrays)),
        "net.predict": (lambda: net.predict(X), {"X"}),
        "net.loss": (lambda: net.loss(X, Y, w), {"X", "Y", "sample_weight"}),
        "net.loss_and_gradients": (lambda: net.loss_and_gradients(X, Y, w), {"X", "Y", "sample_weight"}),
        "trainer.fit": (lambda: Trainer(net).fit(X, Y, 1, sample_weight=w), {"X", "Y", "sample_weight"}),
    }


CALLS = [
    "kernels.forward",
    "kernels.loss_and_gradients",
    "net.predict",
    "net.loss",
    "net.loss_and_gradients",
    "trainer.fit",
]


def refused(arrays, name, call, message=""):
    """Whether the call, if it has that argument, refuses it by an error that names it."""
    function, names = every_way(arrays)[call]
    if name in names:
        with pytest.raises((TypeError, ValueError), match=f"(?i)^{name}: .*{message}"):
            function()
    else:
        function()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["X", "Y", "W1", "W2"])
def test_01_none_is_refused(arrays, name, call):
    refused(arrays | {name: None}, name, call, "None")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("X", (N, D + 1)),
        ("X", (N, D - 1)),
        ("Y", (N + 1, M)),
        ("Y", (N - 1, M)),
        ("Y", (N, M + 1)),
        ("Y", (N,)),
        ("Y", (N, M, 1)),
        ("W2", (H, M)),
        ("W2", (H + 2, M)),
        ("W2", ((H + 1) * M,)),
        ("W1", (1, H)),
        ("W1", ((D + 1) * H,)),
        ("sample_weight", (N + 1,)),
        ("sample_weight", (N - 1,)),
        ("sample_weight", (N, 1)),
    ],
)
def test_02_wrong_shapes_are_refused(arrays, name, shape, call):
    refused(arrays | {name: np.ones(shape)}, name, call)


def test_02_w1_of_other_features_than_x(arrays):
    with pytest.raises(ValueError, match=rf"X: must have {D + 1} columns, got {D}"):
        kernels.forward(arrays["X"], np.ones((D + 2, H)), arrays["W2"])


def test_02_w1_of_other_units_than_w2(arrays):
    with pytest.raises(ValueError, match=r"W2: must have h\+1 = 8 rows"):
        kernels.forward(arrays["X"], np.ones((D + 1, 7)), arrays["W2"])


def test_03_more_than_two_to_the_31_hidden_values(build):
    """n*h = 2**31 + 2**20: an int would wrap. The rows repeat, so the answer is that of a few."""
    n, h = 2**21 + 2**10, 2**10
    few = (np.arange(-32, 32, dtype=np.float32) / 8).reshape(64, 1)
    X = np.tile(few, (n // 64, 1))
    net = MLP((1, h, 1), seed=1)
    expected = net.loss_and_gradients(few, few)
    loss, gradients = net.loss_and_gradients(X, X)
    assert np.isclose(loss, expected[0], rtol=1e-5)
    for found, wanted in zip(gradients, expected[1], strict=True):
        assert np.linalg.norm(found - wanted) <= 1e-3 * np.linalg.norm(wanted)
    np.testing.assert_array_equal(net.predict(X)[-64:], net.predict(few))


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


LAYOUTS = {
    "misaligned": misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "Fortran order": np.asfortranarray,
    "negative strides": lambda a: a[::-1].copy()[::-1],
    "steps": lambda a: np.repeat(a, 2, axis=0)[::2],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_04_any_layout_gives_the_same(arrays, layout, call):
    function, _ = every_way(arrays)[call]
    changed, _ = every_way({name: LAYOUTS[layout](a) for name, a in arrays.items()})[call]
    assert_same(changed(), function())


def test_04_what_reaches_the_kernels_is_aligned_and_contiguous(arrays):
    for layout in LAYOUTS.values():
        X = _checks.matrix("X", layout(arrays["X"]), np.dtype("float64"))
        assert X.flags.aligned
        assert X.flags.c_contiguous
        assert X.dtype == np.float64


def test_04_broadcast_rows_have_zero_strides():
    X = np.broadcast_to(np.ones(D), (N, D))
    np.testing.assert_array_equal(MLP((D, H, 1)).predict(X), MLP((D, H, 1)).predict(X.copy()))


def assert_same(found, expected):
    """Equal to the bit: arrays, floats, tuples of them; of a History, its losses."""
    if isinstance(found, fastmlp.History):
        assert found.loss == expected.loss
    elif isinstance(found, tuple):
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["X", "Y", "W1", "W2", "sample_weight"])
@pytest.mark.parametrize(
    "kind", ["masked", "structured", "complex", "object", "string", "longdouble", "datetime"]
)
def test_05_what_numpy_could_only_convert_with_a_loss_is_refused(arrays, name, kind, call):
    array = arrays[name]
    bad = {
        "masked": lambda: np.ma.masked_less(array, 0.1),
        "structured": lambda: array.astype([("value", float)]),
        "complex": lambda: array + 1j,
        "object": lambda: array.astype(object),
        "string": lambda: array.astype(str),
        "longdouble": lambda: array.astype(np.longdouble),
        "datetime": lambda: array.astype("M8[s]"),
    }[kind]()
    refused(arrays | {name: bad}, name, call)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", ["float16", "int8", "uint64", "bool"])
def test_06_small_floats_integers_and_booleans_are_cast(arrays, dtype, call):
    narrow = {name: (a * 4).astype(dtype) for name, a in arrays.items()}
    narrow["sample_weight"][0] = 1
    function, _ = every_way(narrow)[call]
    wide, _ = every_way({name: a.astype("float64") for name, a in narrow.items()})[call]
    assert_same(function(), wide())


@pytest.mark.parametrize("of_network", ["float32", "float64"])
def test_07_the_network_keeps_its_dtype(rng, of_network):
    other = {"float32": "float64", "float64": "float32"}[of_network]
    X, y = rng.normal(size=(N, D)).astype(other), rng.normal(size=N).astype(other)
    net = MLP((D, H, 1), of_network)
    parameters = net.parameters
    assert net.predict(X).dtype == of_network
    assert net.loss_and_gradients(X, y)[1][0].dtype == of_network
    np.testing.assert_array_equal(net.predict(X), net.predict(X.astype(of_network)))
    Trainer(net, standardize=True).fit(X, y, epochs=2)
    assert net.parameters is parameters
    assert net.parameters.dtype == of_network


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shape", [(0, D), (N, 0), (0, 0), (), (D,), (N, D, 1)])
def test_08_empty_and_other_dimensions_are_refused(arrays, shape, call):
    refused(arrays | {"X": np.ones(shape)}, "X", call)


@pytest.mark.parametrize(
    "sizes", [(0, 4, 1), (3, 0, 1), (3, 4, 0), (3, 4), (3, 4, 4, 1), (-3, 4, 1), (3.5, 4, 1), 3, "341"]
)
def test_08_networks_without_units_are_refused(sizes):
    with pytest.raises((TypeError, ValueError), match=r"^sizes: "):
        MLP(sizes)


def test_08_weights_without_units_are_refused(arrays):
    with pytest.raises(ValueError, match=r"^W1: is empty"):
        kernels.forward(arrays["X"], np.ones((D + 1, 0)), np.ones((1, M)))


def test_10_inputs_that_share_memory_with_the_parameters(rng):
    """Training on views of the parameters that are trained: as on copies of them."""
    losses = []
    for copied in (False, True):
        net = MLP((4, 5, 5), "float64", seed=1)
        W1, _ = net.weights
        X, Y = (W1[:, :4], W1) if not copied else (W1[:, :4].copy(), W1.copy())
        gradients = net.loss_and_gradients(X, Y)
        history = Trainer(net, "sgd", 0.1, batch_size=2, seed=1).fit(X, Y, epochs=3, callback=lambda *_: None)
        losses.append((history.loss, net.parameters.tolist(), gradients[1][0].tolist()))
    assert losses[0] == losses[1]


def test_10_outputs_are_new_arrays(arrays):
    for call in ("kernels.forward", "kernels.loss_and_gradients"):
        found = every_way(arrays)[call][0]()
        for output in found if isinstance(found, tuple) else (found,):
            if isinstance(output, np.ndarray):
                assert not any(np.shares_memory(output, array) for array in arrays.values())


@pytest.mark.parametrize("name", ["X", "Y", "sample_weight"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_11_fit_refuses_nan_and_infinity_and_names_the_row(arrays, name, bad):
    arrays[name][4] = bad
    refused(arrays, name, "trainer.fit", "row 4")


@pytest.mark.parametrize("name", ["X", "Y"])
def test_11_too_large_for_float32_is_infinity(arrays, name):
    arrays[name][2] = 1e39
    net = MLP((D, H, M), "float32")
    with pytest.raises(ValueError, match=f"(?i)^{name}: row 2 .*float32"):
        Trainer(net).fit(arrays["X"], arrays["Y"])


def test_11_finite_rows_whose_sum_is_not(arrays):
    arrays["X"][:] = 1.7e308
    net = MLP((D, H, M), "float64")
    with pytest.warns(RuntimeWarning, match="diverged"):
        Trainer(net).fit(arrays["X"], arrays["Y"], epochs=1)


@pytest.mark.parametrize(
    "call", ["kernels.loss_and_gradients", "net.loss", "net.loss_and_gradients", "trainer.fit"]
)
@pytest.mark.parametrize(
    ("row", "value", "message"), [(3, -1e-9, "row 3"), (slice(None), 0, "add up to 0"), (1, np.nan, "row 1")]
)
def test_11_bad_weights_are_refused(arrays, row, value, message, call):
    arrays["sample_weight"][row] = value
    refused(arrays, "sample_weight", call, message)


def test_12_a_learning_rate_of_1e30():
    """The other shapes of divergence are in test_trainer.py."""
    X, y = fastmlp.load_titanic()
    net = MLP((3, 4, 1), seed=1)
    with pytest.warns(RuntimeWarning, match=r"diverged.*learning rate.*1e\+30.*standardize"):
        history = Trainer(net, learning_rate=1e30, seed=1, standardize=True).fit(X, y)
    assert history.stop_reason == "diverged"
    assert np.isfinite(net.predict(X)).all()


def test_13_importing_leaves_the_floating_point_mode():
    """Subnormal numbers still exist: nothing has switched the process to flush them to zero."""
    tiny = np.float32(1e-40)
    assert tiny != 0
    assert tiny * np.float32(0.5) != 0
    assert kernels.forward([[1e-310]], [[1.0], [0.0]], [[1.0], [0.0]]) == 1e-310


def test_nothing_writes_to_the_inputs(arrays):
    copies = {name: a.copy() for name, a in arrays.items()}
    for call in CALLS:
        every_way(arrays)[call][0]()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, copies[name])


def test_loss_and_gradient_agree_for_several_outputs(rng):
    """A well-known library had its loss averaged over outputs and its gradient not."""
    net = MLP((3, 5, 4), "float64", seed=1)
    X, Y = rng.normal(size=(30, 3)), rng.normal(size=(30, 4))
    loss, (dW1, dW2) = net.loss_and_gradients(X, Y)
    gradient = np.concatenate([dW1.ravel(), dW2.ravel()])
    step = 1e-7 / np.linalg.norm(gradient)
    net.parameters[:] -= step * gradient
    assert np.isclose((loss - net.loss(X, Y)) / step, gradient @ gradient, rtol=1e-5)
    nodes = reference.graph(X, Y, *net.weights)
    assert nodes["L"] == nodes["H"] / (30 * 4)
