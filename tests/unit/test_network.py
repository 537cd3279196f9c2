import copy
import json
import pickle
import stat

import numpy as np
import pytest
import sheet
from safetensors import safe_open
from safetensors.numpy import load_file

import fastmlp
from fastmlp import MLP, kernels, reference
from fastmlp.io import files


def test_only_a_fit_or_a_file_makes_a_network_trained(tmp_path):
    net = MLP((3, 4, 1))
    assert net.trained is False
    net.save(tmp_path / "net")
    assert MLP.load(tmp_path / "net").trained is True


def test_parameters_are_one_buffer_with_views():
    net = MLP((3, 4, 2))
    W1, W2 = net.weights
    assert net.parameters.flags.c_contiguous
    assert net.parameters.dtype == np.float32
    W1[:] = 1
    W2[:] = 2
    np.testing.assert_array_equal(net.parameters, [1] * 16 + [2] * 10)


def test_initial_weights():
    he = MLP((100, 1000, 1), init="he")
    W1, W2 = he.weights
    assert abs(W1[:-1].std() - np.sqrt(2 / 100)) < 0.002
    assert abs(W2[:-1].std() - np.sqrt(2 / 1000)) < 0.002
    assert not W1[-1].any()
    assert not W2[-1].any()
    W1, _ = MLP((100, 1000, 1), init="glorot").weights
    assert np.isclose(np.abs(W1).max(), np.sqrt(6 / 1100), rtol=1e-2)
    uniform = MLP((100, 1000, 1), init="uniform").parameters
    assert 0 <= uniform.min() < 0.001
    assert 0.999 < uniform.max() < 1
    assert MLP((100, 1000, 1), init="uniform").weights[0][-1].any()


def test_seed():
    a, b, c = (MLP((3, 4, 1), seed=seed).parameters for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


@pytest.mark.parametrize("m", [1, 3])
def test_predict_and_loss_are_the_reference(rng, m):
    net = MLP((3, 5, m), dtype="float64", seed=2)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, m))
    w = rng.uniform(size=20)
    E = sheet.forward(reference, X, *net.weights)
    found = net.predict(X)
    assert found.shape == ((20,) if m == 1 else (20, m))
    np.testing.assert_allclose(found.reshape(20, m), E, rtol=1e-12)
    loss, dW1, dW2 = sheet.loss_and_gradients(reference, X, y, *net.weights, w)
    assert np.isclose(net.loss(X, y, w), loss, rtol=1e-12)
    found_loss, gradients = net.loss_and_gradients(X, y, sample_weight=w)
    assert found_loss == net.loss(X, y, w)
    for a, b in zip(gradients, (dW1, dW2), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


def test_one_output_takes_flat_targets(rng):
    net = MLP((3, 5, 1))
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    assert net.loss(X, y) == net.loss(X, y[:, None])


def test_copies_and_pickles_are_whole():
    net = MLP((3, 4, 1), seed=3)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.parameters, net.parameters)
        other.weights[0][:] = 0
        assert not other.parameters[:16].any()
        assert net.parameters[:16].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load(tmp_path, dtype):
    net = MLP((3, 4, 2), dtype=dtype, seed=3)
    net.feature_names, net.target_names = ("a", "b", "ç"), ("y", "z")
    net.save(tmp_path / "net.safetensors")
    loaded = MLP.load(tmp_path / "net.safetensors")
    assert (loaded.sizes, loaded.dtype) == (net.sizes, net.dtype)
    assert (loaded.feature_names, loaded.target_names) == (net.feature_names, net.target_names)
    np.testing.assert_array_equal(loaded.parameters, net.parameters)
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_file_is_a_state_dict(tmp_path):
    net = MLP((3, 4, 2), seed=3)
    net.save(tmp_path / "net.safetensors")
    tensors = load_file(tmp_path / "net.safetensors")
    assert {name: t.shape for name, t in tensors.items()} == {
        "0.weight": (4, 3),
        "0.bias": (4,),
        "2.weight": (2, 4),
        "2.bias": (2,),
    }
    np.testing.assert_array_equal(tensors["0.weight"].T, net.weights[0][:-1])
    np.testing.assert_array_equal(tensors["2.bias"], net.weights[1][-1])


def test_saving_again_replaces_and_keeps_the_mode(tmp_path):
    path = tmp_path / "net.safetensors"
    MLP((3, 4, 1), seed=1).save(path)
    path.chmod(0o640)
    MLP((3, 4, 1), seed=2).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    np.testing.assert_array_equal(MLP.load(path).parameters, MLP((3, 4, 1), seed=2).parameters)


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    MLP((3, 4, 1), seed=1).save(path)
    old = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        MLP((3, 4, 1), seed=2).save(path)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_saving_into_an_absent_folder_names_the_target(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent/net\.safetensors"):
        MLP((3, 4, 1)).save(tmp_path / "absent" / "net.safetensors")


def saved_with(tmp_path, tensors=None, **metadata):
    """A model file whose metadata or tensors are changed, and its digest with them."""
    path = tmp_path / "forged.safetensors"
    MLP((3, 4, 1)).save(path)
    with safe_open(path, framework="numpy") as file:
        found = file.metadata()
    del found["digest"]
    files.save_tensors(path, load_file(path) | (tensors or {}), found | metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format='fastmlp'"),
        ({"format_version": "3"}, "version 3.*reads versions up to 2"),
        ({"activations": "[]"}, "activation"),
        ({"activations": '["sine"]'}, "activation.*sine"),
        ({"objective": '["hinge", {}]'}, "objective.*hinge"),
        ({"objective": '["huber", {"delta": -1}]'}, "delta"),
        ({"objective": '["huber", {"gamma": 1}]'}, "gamma"),
        ({"sizes": "[3, 5, 1]"}, r"tensors .*\(4, 3\).*sizes \(3, 5, 1\).*\(5, 3\)"),
        ({"sizes": "[3, 4000000000, 1]"}, "do not fit"),
        ({"sizes": "nonsense"}, "Expecting value"),
        ({"sizes": "[" * 100_000}, "RecursionError"),
        ({"sizes": "[3, 1e999, 1]"}, "sizes"),
        ({"dtype": "float64"}, "float32.*float64"),
        ({"dtype": "int8"}, "dtype"),
        ({"feature_names": "7"}, "names"),
        ({"tensors": {"0.bias": np.zeros(5, np.float32)}}, "do not fit"),
        ({"tensors": {"4.bias": np.zeros(5, np.float32)}}, "do not fit"),
        ({"tensors": {"0.bias": np.zeros(4, np.float64)}}, "float32, float64"),
    ],
)
def test_forged_files_are_refused(tmp_path, change, message):
    path = saved_with(tmp_path, **change)
    with pytest.raises(ValueError, match=message) as error:
        MLP.load(path)
    assert str(path) in str(error.value)


def test_damaged_and_absent_files(tmp_path):
    path = tmp_path / "net.safetensors"
    MLP((3, 4, 1)).save(path)
    whole = path.read_bytes()
    for end in (0, 7, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"net\.safetensors"):
            MLP.load(path)
    with pytest.raises(FileNotFoundError):
        MLP.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        MLP.load(tmp_path)


def test_metadata_are_as_documented(tmp_path):
    path = saved_with(tmp_path)
    header = path.read_bytes()
    size = int.from_bytes(header[:8], "little")
    metadata = json.loads(header[8 : 8 + size])["__metadata__"]
    assert metadata["sizes"] == "[3, 4, 1]"
    assert metadata["dtype"] == "float32"
    assert metadata["format_version"] == "2"
    assert metadata["activations"] == '["relu"]'
    assert metadata["objective"] == '["squared_error", {}]'


def test_show_config(capsys):
    fastmlp.show_config()
    printed = capsys.readouterr().out
    caches = "caches    {} KB and {} KB ".format(*(size // 1024 for size in fastmlp.kernels.CACHES))
    for value in (fastmlp.__version__, fastmlp.kernels.ISA, caches, "threads"):
        assert value in printed
    with pytest.raises(ValueError, match="mode"):
        fastmlp.show_config("xml")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "sizes", [(3, 4, 1), (5, 13, 3), (7, 33, 1), (16, 64, 1), (64, 256, 10), (20, 100, 3)]
)
def test_few_rows_have_the_bits_of_many(build, rng, sizes, dtype):
    """Also where a row is infinite: it must not come through the unused lanes of the last units."""
    net = MLP(sizes, dtype=dtype, seed=0)
    X = rng.normal(size=(100, sizes[0])).astype(dtype)
    X[::7, 0] = np.inf
    X[3::7, -1] = np.nan
    for start in range(0, 70, 3):
        for rows in (1, 2, 3, 15, 16, 17, 30):
            few = X[start : start + rows]
            together = sheet.forward(kernels, X, *net.weights)[start : start + rows]
            np.testing.assert_array_equal(net.predict(few).reshape(together.shape), together)


def test_few_rows_that_are_not_ready_take_the_long_way(rng):
    net = MLP((3, 4, 1), dtype="float64", seed=0)
    X = rng.normal(size=(4, 3))
    expected = net.predict(X)
    misaligned = np.frombuffer(b"." + X.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(4, 3)
    for other in (
        X.tolist(),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        X.astype(">f8"),
        misaligned,
        X.view(type("Subclass", (np.ndarray,), {})),
    ):
        assert net._network().predict(other, net.parameters, False, 1) is None
        np.testing.assert_array_equal(net.predict(other), expected)
    read_only = X.copy()
    read_only.flags.writeable = False
    assert net._network().predict(read_only, net.parameters, False, 1) is not None


@pytest.mark.parametrize("sizes", [(3, 33, 2), (40, 17, 3), (7, 130, 2), (5, 200, 1)])
def test_what_memory_held_before_does_not_come_through(build, rng, sizes):
    """Predictions of few rows pad the weights in memory that nobody has cleared."""
    net = MLP(sizes, dtype="float64", seed=0)
    X = rng.normal(size=(5, sizes[0]))
    expected = sheet.forward(kernels, X, *net.weights)
    for size in range(1024, 8192, 64):
        leftovers = [np.full(size, np.nan) for _ in range(4)]
        del leftovers  # the allocator hands them out again, as they are
        np.testing.assert_array_equal(net.predict(X).reshape(expected.shape), expected)
