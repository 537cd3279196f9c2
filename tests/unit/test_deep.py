"""MLPs of every depth, activation and objective in what surrounds the kernels: files, exporters, training."""

import copy
import ctypes
import pickle
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file

from fastmlp import MLP, Adam, History, Trainer, activations, objectives, plot
from fastmlp.objectives import Huber, LogLoss, Quantile

CASES = [
    *[dict(sizes=(4, 7, 5, 3), activation=name) for name in activations.ACTIVATIONS],
    dict(sizes=(4, 3), objective="squared_error"),
    dict(sizes=(4, 6, 1), objective="absolute_error"),
    dict(sizes=(4, 6, 1), objective=Huber(2.5)),
    dict(sizes=(4, 6, 3), objective=Quantile((0.1, 0.5, 0.9))),
    dict(sizes=(4, 6, 1), objective="quantile"),
    dict(sizes=(4, 6, 5, 2), activation=("tanh", "gelu"), objective="poisson"),
    dict(sizes=(4, 1), objective="gamma"),
    dict(sizes=(4, 6, 2), objective="binary_log_loss"),
    dict(sizes=(4, 6, 3), objective=LogLoss(0.1)),
    dict(sizes=(4, 5, 5, 5, 5, 5, 5, 5, 2), activation=tuple(activations.ACTIVATIONS)[:7]),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def network(case, dtype):
    net = MLP(**case, dtype=dtype, seed=3)
    net.parameters[:] += np.random.default_rng(0).normal(0, 0.1, net.parameters.size)
    return net


def equal(a, b):
    same = (a.sizes, a.activations, a.objective, a.dtype) == (b.sizes, b.activations, b.objective, b.dtype)
    return same and (a.parameters == b.parameters).all()


@every_case
@dtypes
def test_files_copies_and_pickles(tmp_path, rng, case, dtype):
    net = network(case, dtype)
    net.predict(rng.normal(size=(3, 4)).astype(dtype))  # what the kernels keep of it is not copied
    net.feature_names = tuple("abcd")
    path = tmp_path / "net.safetensors"
    net.save(path)
    assert sorted(load_file(path)) == sorted(
        f"{2 * layer}.{part}" for layer in range(len(net.sizes) - 1) for part in ("weight", "bias")
    )
    for other in (MLP.load(path), net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert equal(net, other)
        assert other.feature_names == tuple("abcd")
        assert not np.shares_memory(other.parameters, net.parameters)
        X = rng.normal(size=(20, 4))
        np.testing.assert_array_equal(other.predict(X), net.predict(X))


def test_files_of_version_1_are_read(tmp_path, rng):
    """Written before there were activations and objectives to choose."""
    from pathlib import Path

    folder = Path(__file__).parents[1] / "faults" / "corpus"
    net = MLP.load(folder / "taken-model-version-1")
    assert net.activations == ("relu",)
    assert net.objective == objectives.SquaredError()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(sizes=(3, 1)), "MLP((3, 1), dtype='float32')"),
        (dict(sizes=(3, 4, 4, 1)), "MLP((3, 4, 4, 1), dtype='float32')"),
        (dict(sizes=(3, 4, 1), activation="tanh"), "MLP((3, 4, 1), activation='tanh', dtype='float32')"),
        (
            dict(sizes=(3, 4, 4, 1), activation=("tanh", "relu"), objective="huber"),
            "MLP((3, 4, 4, 1), activation=('tanh', 'relu'), objective=Huber(delta=1.0), dtype='float32')",
        ),
    ],
)
def test_repr(arguments, said):
    assert repr(MLP(**arguments)) == said


def test_starting_weights_suit_the_activation():
    for name, deviation in (
        ("relu", (2 / 400) ** 0.5),
        ("selu", (1 / 400) ** 0.5),
        ("tanh", (2 / 800) ** 0.5),
    ):
        net = MLP((400, 400, 400, 1), activation=name, seed=1)
        for W in net.weights[:2]:
            np.testing.assert_allclose(W[:-1].std(), deviation, rtol=0.02)
            assert not W[-1].any()


@pytest.mark.parametrize("name", ["sizes", "activations", "objective", "dtype"])
def test_what_does_not_change_is_read_only(name):
    with pytest.raises(AttributeError):
        setattr(MLP((3, 4, 1)), name, None)


@every_case
@dtypes
def test_onnx(tmp_path, rng, case, dtype):
    import onnxruntime

    net = network(case, dtype)
    path = tmp_path / "net.onnx"
    net.to_onnx(path)
    X = rng.normal(size=(50, 4)).astype(dtype)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        assert dtype == "float64"  # of some operators ONNX Runtime has no double
        return
    (found,) = session.run(None, {"X": X})
    tolerance = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, net.predict(X).reshape(50, -1), rtol=tolerance, atol=tolerance)


@every_case
@dtypes
def test_c(tmp_path, rng, case, dtype):
    net = network(case, dtype)
    source, library = tmp_path / "net.c", tmp_path / "net.so"
    net.to_c(source)
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["cc", *warnings, "-O1", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    X = rng.normal(size=(50, 4)).astype(dtype)
    X[-1, 0] = np.nan
    out = np.empty((50, net.sizes[-1]), dtype)
    function = ctypes.CDLL(str(library)).network_predict_rows
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    function(X.ctypes.data, out.ctypes.data, 50)
    tolerance = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(out[:-1], net.predict(X[:-1]).reshape(49, -1), rtol=tolerance, atol=tolerance)
    assert np.isnan(out[-1]).all()


@every_case
def test_pictures(case):
    net = network(case, "float32")
    ax = plot.network(net)
    said = {text.get_text() for text in ax.texts}
    assert {f"$W^{{({layer})}}$" for layer in range(1, len(net.sizes))} <= said
    assert all(any(name in text for text in said) for name in net.activations)


def test_the_graph_of_the_sheet_is_of_one_hidden_layer():
    with pytest.raises(ValueError, match=r"^net: the graph is of one hidden layer"):
        plot.graph(MLP((3, 4, 4, 1)), np.ones((2, 3)), np.ones(2))


@pytest.mark.parametrize("standardize", [False, True])
@every_case
def test_a_fit_that_is_cut_off_goes_on_from_its_checkpoint(tmp_path, rng, case, standardize):
    X = 3 + rng.normal(size=(40, 4))
    outputs = case["sizes"][-1]
    objective = objectives.resolve(case.get("objective", "squared_error"))
    Y = np.abs(rng.normal(size=(40, objective.target_columns(outputs, outputs)))) + 0.1
    if objective.link_name in ("logistic", "softmax"):
        Y = rng.integers(outputs, size=40) if objective.link_name == "softmax" else Y > 0.7

    def trainer():
        return Trainer(network(case, "float64"), "adam", batch_size=16, seed=1, standardize=standardize)

    whole = trainer()
    whole.fit(X, Y, epochs=6)
    path = tmp_path / "checkpoint.safetensors"

    def stop(epoch, history):
        if epoch == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        trainer().fit(X, Y, epochs=6, callback=stop, checkpoint=path, checkpoint_every=2)
    resumed = Trainer.resume(path, X, Y, activation=case.get("activation", "relu"), objective=objective)
    assert resumed.history.loss == whole.history.loss
    assert equal(resumed.network, whole.network)


@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
def test_training_lowers_the_loss(rng, activation):
    X = rng.normal(size=(300, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    net = MLP((2, 16, 16, 1), activation=activation, seed=1)
    history = Trainer(net, Adam(0.01), seed=1, standardize=True).fit(X, y, epochs=60)
    if activation == "identity":  # a line: the sine's part along it
        line = np.linalg.lstsq(np.hstack([X, np.ones((300, 1))]), y, rcond=None)[1][0] / 300
        assert 0.95 * line < history.loss[-1] < 1.1 * line
    else:
        assert history.loss[-1] < 0.1 * y.var()


@pytest.mark.parametrize("sizes", [(3, 4, 1), (3, 8, 8, 1), (3, 40, 40, 1), (3, 1)])
def test_standardised_training_folds_into_first_and_last_layer(rng, sizes):
    """The network that takes raw values has the loss that training reached."""
    X = np.array([1e3, -5, 0.01]) + [100, 2, 1e-3] * rng.normal(size=(200, 3))
    y = 7e4 + 1e3 * rng.normal(size=200)
    net = MLP(sizes, activation="tanh", dtype="float64", seed=2)
    trainer = Trainer(net, learning_rate=1e-9, batch_size=None, standardize=True)
    trainer.fit(X, y, epochs=1)
    history = trainer.fit(X, y, epochs=1)
    np.testing.assert_allclose(net.loss(X, y), history.loss[0], rtol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [objectives.Huber(np.float32(2)), objectives.LogLoss(np.float32(0.25)), objectives.BinaryLogLoss(1 // 3)],
)
def test_parameters_of_objectives_that_are_numpy_numbers_go_into_files(tmp_path, objective):
    net = MLP((3, 4, 2), objective=objective)
    net.save(tmp_path / "net")
    assert MLP.load(tmp_path / "net").objective == objective


def test_what_there_is_not_cannot_be_set():
    net = MLP((3, 4, 1))
    with pytest.raises(AttributeError):
        net.activation = "tanh"
    trainer = Trainer(net)
    with pytest.raises(AttributeError):
        trainer.patience = 3
    assert (
        pickle.loads(pickle.dumps(trainer)).network.sizes == copy.deepcopy(trainer).network.sizes == (3, 4, 1)
    )


def test_probabilities_of_another_dtype_are_targets(rng):
    X = rng.normal(size=(50, 3)).astype("float32")
    P = MLP((3, 8, 3), objective="log_loss").predict(X)
    other = MLP((3, 8, 3), objective="log_loss", dtype="float64")
    for standardize in (False, True):
        assert Trainer(other, standardize=standardize).fit(X, P, 1).stop_reason == "epochs"
        assert np.isfinite(other.loss(X, P.astype("float64")))


def test_targets_are_checked_in_the_dtype_they_are_trained_in(rng):
    X, y = rng.normal(size=(20, 3)), np.r_[1e-50, np.ones(19)]
    with pytest.raises(ValueError, match=r"^y: row 0 is 0"):
        Trainer(MLP((3, 4, 1), objective="gamma"), standardize=True).fit(X, y, 3)


def test_weights_count_by_their_ratios_whatever_their_size(rng):
    X, y, w = rng.normal(size=(20, 3)), rng.normal(size=20), rng.uniform(1, 2, 20)
    net = MLP((3, 4, 1))
    expected = net.loss(X, y, w)
    for size in (1e-50, 1e300):
        assert np.isclose(net.loss(X, y, w * size), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", [-1, "x", 1.5])
def test_the_seed_is_named(seed):
    for make in (lambda: MLP((3, 1), seed=seed), lambda: Trainer(MLP((3, 1)), seed=seed)):
        with pytest.raises((ValueError, TypeError), match=r"^seed: "):
            make()


def test_messages_of_sizes_and_columns(rng):
    with pytest.raises(ValueError, match=r"^sizes: .*weights"):
        MLP((10**9, 10**10, 1))
    with pytest.raises(ValueError, match=r"^y: must have 2 columns"):
        MLP((3, 2)).loss(rng.normal(size=(5, 3)), rng.normal(size=5))


def test_pictures_of_odd_names_and_weights():
    net = MLP((2, 3, 1))
    net.parameters[0] = np.nan
    plot.network(net, feature_names=["$\\x$", "a $"]).figure.canvas.draw()
    plot.losses(History(loss=[0.0, 0.0], best_epoch=0)).figure.canvas.draw()
