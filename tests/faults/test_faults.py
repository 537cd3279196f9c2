"""What must never happen: each fault injected for real. A named error, or the right result."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, Trainer, _checks, cli, kernels, reference

N, D, H, M = 6, 3, 4, 2


@pytest.fixture
def arrays(rng):
    shapes = {"X": (N, D), "Y": (N, M), "W1": (D + 1, H), "W2": (H + 1, M), "sample_weight": (N,)}
    return {name: np.abs(rng.normal(size=shape)) for name, shape in shapes.items()}


def every_way(arrays):
    """{what is called: (call, the names its arguments have there)} for one set of arguments."""
    net = MLP((D, H, M), dtype="float64")
    X, Y, w = arrays["X"], arrays["Y"], arrays["sample_weight"]
    weights = arrays["W1"], arrays["W2"]
    return {
        "kernels.forward": (lambda: kernels.forward(X, weights), {"X", "W1", "W2"}),
        "kernels.loss_and_gradients": (
            lambda: kernels.loss_and_gradients(X, Y, weights, sample_weight=w),
            set(arrays),
        ),
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


NAMES = {"W1": "weights[0]", "W2": "weights[1]"}  # in messages


def refused(arrays, name, call, message=""):
    """Whether the call, if it has that argument, refuses it by an error that names it."""
    function, names = every_way(arrays)[call]
    if name in names:
        with pytest.raises(
            (TypeError, ValueError), match=f"(?i)^{re.escape(NAMES.get(name, name))}: .*{message}"
        ):
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
        kernels.forward(arrays["X"], (np.ones((D + 2, H)), arrays["W2"]))


def test_02_w1_of_other_units_than_w2(arrays):
    with pytest.raises(ValueError, match=r"weights\[1\]: must have 8 rows"):
        kernels.forward(arrays["X"], (np.ones((D + 1, 7)), arrays["W2"]))


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


def test_03_training_on_more_than_two_to_the_31_hidden_values(build):
    """A step on all rows, and a look at all of them as validation data."""
    n, h = 2**21 + 2**10, 2**10
    few = (np.arange(-32, 32, dtype=np.float32) / 8).reshape(64, 1)
    X = np.tile(few, (n // 64, 1))
    found = []
    for data in (few, X):
        net = MLP((1, h, 1), seed=1)
        trainer = Trainer(net, "sgd", 1e-3, batch_size=None)
        history = trainer.fit(data, data, epochs=1, validation_data=(data, data))
        found.append((history.loss + history.validation_loss, net.parameters.copy()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-6)


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
    net = MLP((D, H, 1), dtype=of_network)
    parameters = net.parameters
    assert net.predict(X).dtype == of_network
    assert net.loss_and_gradients(X, y)[1][0].dtype == of_network
    np.testing.assert_array_equal(net.predict(X), net.predict(X.astype(of_network)))
    Trainer(net, standardize=True).fit(X, y, epochs=2)
    assert np.shares_memory(net.parameters, parameters)
    assert net.parameters.dtype == of_network


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shape", [(0, D), (N, 0), (0, 0), (), (D,), (N, D, 1)])
def test_08_empty_and_other_dimensions_are_refused(arrays, shape, call):
    refused(arrays | {"X": np.ones(shape)}, "X", call)


@pytest.mark.parametrize(
    "sizes", [(0, 4, 1), (3, 0, 1), (3, 4, 0), (3,), (), (3, 4, 0, 1), (-3, 4, 1), (3.5, 4, 1), 3, "341"]
)
def test_08_networks_without_units_are_refused(sizes):
    with pytest.raises((TypeError, ValueError), match=r"^sizes: "):
        MLP(sizes)


def test_08_weights_without_units_are_refused(arrays):
    with pytest.raises(ValueError, match=r"^weights\[0\]: is empty"):
        kernels.forward(arrays["X"], (np.ones((D + 1, 0)), np.ones((1, M))))


def test_10_inputs_that_share_memory_with_the_parameters(rng):
    """Training on views of the parameters that are trained: as on copies of them."""
    losses = []
    for copied in (False, True):
        net = MLP((4, 5, 5), dtype="float64", seed=1)
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
    net = MLP((D, H, M), dtype="float32")
    with pytest.raises(ValueError, match=f"(?i)^{name}: row 2 .*float32"):
        Trainer(net).fit(arrays["X"], arrays["Y"])


def test_11_finite_rows_whose_sum_is_not(arrays):
    arrays["X"][:] = 1.7e308
    net = MLP((D, H, M), dtype="float64")
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
    assert kernels.forward([[1e-310]], ([[1.0], [0.0]], [[1.0], [0.0]])) == 1e-310


def test_nothing_writes_to_the_inputs(arrays):
    copies = {name: a.copy() for name, a in arrays.items()}
    for call in CALLS:
        every_way(arrays)[call][0]()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, copies[name])


def test_loss_and_gradient_agree_for_several_outputs(rng):
    """A well-known library had its loss averaged over outputs and its gradient not."""
    net = MLP((3, 5, 4), dtype="float64", seed=1)
    X, Y = rng.normal(size=(30, 3)), rng.normal(size=(30, 4))
    loss, (dW1, dW2) = net.loss_and_gradients(X, Y)
    gradient = np.concatenate([dW1.ravel(), dW2.ravel()])
    step = 1e-7 / np.linalg.norm(gradient)
    net.parameters[:] -= step * gradient
    assert np.isclose((loss - net.loss(X, Y)) / step, gradient @ gradient, rtol=1e-5)
    nodes = reference.graph(X, Y, *net.weights)
    assert nodes["L"] == nodes["H"] / (30 * 4)


BAD_TABLES = {
    "ragged": (b"a,b\n1,2\n3\n", "line 3"),
    "NUL byte": (b"a,b\n1,2\n3,\x00\n", "line 3"),
    "1e999": (b"a,b\n1,2\n3,4\n5,1e999\n", "line 4, column 'b'"),
    "decimal comma": (b'a,b\n1,"2,5"\n', "line 2, column 'b'"),
    "decimal comma, no quotes": (b"a,b\n1,2,5\n", "line 2"),
    "text": (b"a,b\n1,2\nx,4\n", "line 3, column 'a'"),
    "missing cell": (b"a,b\n1,2\n3,\n", "line 3, column 'b'"),
    "duplicate header": (b"a,b,b\n1,2,3\n", "line 1: column 'b'"),
    "header alone": (b"a,b\n", "line 2"),
    "empty": (b"", "line 1"),
    "UTF-16 without a mark": (
        "a,b\n1,2\n".encode("utf-16-le"),
        "line 1: holds NUL characters; is it UTF-16?",
    ),
    "Excel": (b"PK\x03\x04rest", "Excel workbook; save it as CSV"),
    "a folder": (None, "Is a directory"),
    "absent": (None, "No such file"),
}
QUICK = ["--epochs", "2", "--starts", "1"]


def error_of(capsys, *arguments):
    """The one line that a failing command says."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr().err
    (line,) = (line for line in printed.splitlines() if "fastmlp: error: " in line)
    assert "Traceback" not in printed
    return line


@pytest.mark.parametrize("command", ["train", "predict"])
@pytest.mark.parametrize("name", BAD_TABLES)
def test_31_the_command_line_says_where_a_table_is_wrong(tmp_path, capsys, name, command):
    content, place = BAD_TABLES[name]
    path, model = tmp_path / "table.csv", tmp_path / "model"
    if content is not None:
        path.write_bytes(content)
    elif name == "a folder":
        path.mkdir()
    net = MLP((2, 4, 1))
    net.feature_names = ("a", "b")
    net.save(model)
    before = model.read_bytes()
    if command == "train":
        said = error_of(capsys, "train", path, "--target", "b", "--save", model, *QUICK)
    else:
        said = error_of(capsys, "predict", model, path)
    assert place in said
    assert "table.csv" in said
    assert model.read_bytes() == before


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa,b\r\n1,2\r\n3,5\r\n", b"a,b\n1,2\n3,5"])
def test_31_tables_with_a_byte_order_mark_and_other_line_ends_are_read(tmp_path, capsys, content):
    (tmp_path / "table.csv").write_bytes(content)
    model = str(tmp_path / "model")
    assert cli.main(["train", str(tmp_path / "table.csv"), "--target", "b", "--save", model, *QUICK]) == 0
    assert MLP.load(model).feature_names == ("a",)


@pytest.fixture
def commands(tmp_path):
    """The arguments of each command of the command line, to work on files that are there."""
    net = MLP((3, 4, 1))
    net.save(tmp_path / "model")
    (tmp_path / "table.csv").write_text("a,b,c\n1,2,3\n4,5,7\n")
    files = {name: str(tmp_path / name) for name in ("model", "table.csv", "new")}
    return {
        "info": ["info"],
        "predict": ["predict", files["model"], files["table.csv"]],
        "train": ["train", files["table.csv"], "--target", "c", "--save", files["new"], *QUICK],
    }


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux and others")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("stdout", ["full", "pipe without a reader", "closed"])
@pytest.mark.parametrize("command", ["info", "predict", "train"])
def test_32_nobody_takes_what_is_printed(commands, command, stdout, buffered):
    """A status that is not 0, and no traceback; of a pipe that was closed nobody need be told."""
    arguments = [sys.executable, "-m", "fastmlp", *commands[command]]
    environment = os.environ | {"PYTHONUNBUFFERED": "" if buffered else "1"}
    if stdout == "closed":
        arguments = ["sh", "-c", 'exec "$@" >&-', "sh", *arguments]
        taker = subprocess.DEVNULL
    elif stdout == "full":
        taker = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, taker = os.pipe()
        os.close(reader)
    done = subprocess.run(
        arguments, stdout=taker, stderr=subprocess.PIPE, text=True, env=environment, timeout=60
    )
    if taker >= 0:
        os.close(taker)
    assert done.returncode in (1, 2)
    for unwanted in ("Traceback", "Exception ignored"):
        assert unwanted not in done.stderr
    told = stdout != "pipe without a reader"
    assert done.stderr.count("fastmlp: error: ") == told, done.stderr


def unwritable(folder):
    """A folder that nobody can write to: what permissions forbid, root may."""
    if os.geteuid() == 0:
        return "/proc"
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    return str(locked)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
@pytest.mark.parametrize("where", ["unwritable", "below a file", "absent folder", "a folder"])
@pytest.mark.parametrize(
    ("command", "option"), [("train", "--save"), ("train", "--plot"), ("predict", "--output")]
)
def test_32_places_that_cannot_be_written(commands, tmp_path, capsys, command, option, where):
    """An error that names the place; nothing is left there or beside it."""
    place = {
        "unwritable": os.path.join(unwritable(tmp_path), "out.png"),
        "below a file": str(tmp_path / "table.csv" / "out.png"),
        "absent folder": str(tmp_path / "absent" / "out.png"),
        "a folder": str(tmp_path),
    }[where]
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    said = error_of(capsys, *commands[command], option, place)
    assert place in said or os.path.dirname(place) in said
    after = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    after.pop(tmp_path / "new", None)  # the model, where it is the picture that fails
    assert after == before


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("option", ["--save", "--plot"])
def test_32_training_replaces_no_input(commands, tmp_path, capsys, option, linked):
    """A file without an ending is a picture's name too."""
    table, link = tmp_path / "table", tmp_path / "link"
    table.write_bytes((tmp_path / "table.csv").read_bytes())
    link.symlink_to(table)
    before = table.read_bytes()
    outputs = ["--save", tmp_path / "new", option, link if linked else table]
    said = error_of(capsys, "train", table, "--target", "c", *QUICK, *outputs)
    assert f"{option}: " in said
    assert table.read_bytes() == before


def test_32_the_picture_does_not_replace_the_model(tmp_path, capsys):
    both = tmp_path / "same"
    assert "--plot: " in error_of(capsys, "train", *QUICK, "--save", both, "--plot", both)
    assert not both.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_32_a_pipe_as_output_gets_the_bytes_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(pipe.read_bytes)
        MLP((3, 4, 1), seed=5).save(pipe)
    assert pipe.is_fifo()
    (tmp_path / "net").write_bytes(received.result(timeout=30))
    np.testing.assert_array_equal(MLP.load(tmp_path / "net").parameters, MLP((3, 4, 1), seed=5).parameters)
