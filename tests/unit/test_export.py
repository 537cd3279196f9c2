import ctypes
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import sheet

from fastmlp import MLP, Trainer, load_titanic

SIZES = [(3, 4, 1), (5, 13, 3), (1, 1, 1), (20, 70, 2)]


def networks(dtype):
    for sizes in SIZES:
        net = MLP(sizes, dtype=dtype, init="uniform", seed=1)
        net.parameters -= 0.4
        yield net
    X, y = load_titanic()
    net = MLP((3, 4, 1), dtype=dtype)
    Trainer(net, standardize=True, seed=0).fit(X, y, epochs=5)
    net.feature_names, net.target_names = ("age", "class*/", "survived\n\\"), ("fare",)
    yield net


def rows(net, n=50):
    return np.random.default_rng(0).normal(0, 3, (n, net.sizes[0])).astype(net.dtype)


def assert_equal_predictions(net, X, predictions):
    """To the rounding of either side."""
    eps = np.finfo(net.dtype).eps
    Y = np.zeros((len(X), net.sizes[2]), net.dtype)
    bounds = 2 * sheet.error_bounds(X, Y, *net.weights, eps=eps)["E"]
    assert predictions.dtype == net.dtype
    assert (np.abs(predictions - net.predict(X).reshape(Y.shape)) <= bounds).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx(tmp_path, dtype):
    path = tmp_path / "net.onnx"
    for net in networks(dtype):
        net.to_onnx(path)
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for n in (1, 50):
            X = rows(net, n)
            (predictions,) = session.run(None, {"X": X})
            assert_equal_predictions(net, X, predictions)
    names = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    assert names == {"feature_names": list(net.feature_names), "target_names": ["fare"]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_c(tmp_path, dtype):
    pointer = np.ctypeslib.ndpointer(dtype, flags="C")
    for number, net in enumerate(networks(dtype)):
        source, library = tmp_path / f"net{number}.c", tmp_path / f"net{number}.so"
        net.to_c(source, name="my_net")
        warnings = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
        subprocess.run(["cc", *warnings, "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        predict = ctypes.CDLL(library).my_net_predict_rows
        predict.argtypes, predict.restype = [pointer, pointer, ctypes.c_size_t], None
        X = rows(net)
        predictions = np.empty((len(X), net.sizes[2]), dtype)
        predict(X, predictions, len(X))
        assert_equal_predictions(net, X, predictions)
        X[3, 0] = np.nan
        predict(X, predictions, len(X))
        assert np.array_equal(np.isnan(predictions), np.isnan(net.predict(X).reshape(predictions.shape)))
        assert np.isnan(predictions[3]).all()


def test_c_refuses(tmp_path):
    net, path = MLP((3, 4, 1)), tmp_path / "net.c"
    for name in ("", "1net", "my net", "x;int y", "é"):
        with pytest.raises(ValueError, match="name"):
            net.to_c(path, name)
    net.parameters[3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        net.to_c(path)
    assert not path.exists()


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_both_ways(tmp_path, dtype):
    import torch
    from safetensors.torch import load_file

    for net in networks(dtype):
        X = rows(net)
        module = net.to_torch()
        assert_equal_predictions(net, X, module(torch.from_numpy(X)).detach().numpy())
        back = MLP.from_torch(module)
        assert back.sizes == net.sizes
        assert back.trained
        np.testing.assert_array_equal(back.parameters, net.parameters)
        with torch.no_grad():
            module[0].weight.zero_()
        np.testing.assert_array_equal(back.parameters, net.parameters)

        net.save(tmp_path / "net.safetensors")
        module.load_state_dict(load_file(tmp_path / "net.safetensors"))
        np.testing.assert_array_equal(MLP.from_torch(module).parameters, net.parameters)


@pytest.mark.torch
def test_from_torch_refuses():
    from torch import nn

    module = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 1))
    np.testing.assert_array_equal(MLP.from_torch(module).weights[0][-1], 0)
    for wrong in (nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 4), nn.Hardtanh(), nn.Linear(4, 1)), None):
        with pytest.raises(TypeError, match="module"):
            MLP.from_torch(wrong)
    for wrong in (
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 1)),
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).half(),
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1).double()),
    ):
        with pytest.raises(ValueError, match="module"):
            MLP.from_torch(wrong)


@pytest.mark.parametrize(
    ("extra", "call", "message"),
    [
        ("onnx", "net.to_onnx('x')", "MLP.to_onnx needs onnx"),
        ("torch", "net.to_torch()", "MLP.to_torch needs torch"),
        ("torch", "fastmlp.MLP.from_torch(1)", "MLP.from_torch needs torch"),
        ("plot", "import fastmlp.plot", "fastmlp.plot needs matplotlib"),
        ("sklearn", "import fastmlp.sklearn", "fastmlp.sklearn needs sklearn"),
    ],
)
def test_one_line_says_what_to_install(extra, call, message):
    absent = message.split()[-1]
    code = f"import sys, fastmlp; sys.modules['{absent}'] = None\nnet = fastmlp.MLP((3, 4, 1))\n{call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == f"ImportError: {message}: pip install 'fastmlp[{extra}]'"
