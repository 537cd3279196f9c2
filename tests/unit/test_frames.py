"""Frames are read column by column, and their names are kept and followed."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

import fastmlp
from fastmlp import MLP, Trainer, kernels

COLUMNS = {
    "a": [1.0, 2.0, 4.0, 0.5],
    "b": [True, False, True, True],
    "c": [3, 1, 2, 7],
    "d": [0.5, 0.25, 0.125, 8.0],
}
TABLE = np.array([COLUMNS[name] for name in COLUMNS], float).T
Y = np.arange(4.0)


def pandas_of_each_kind(columns):
    return pd.DataFrame(
        {
            "a": pd.array(columns["a"], dtype="Float64"),
            "b": pd.array(columns["b"], dtype="boolean"),
            "c": pd.array(columns["c"], dtype="UInt8"),
            "d": np.array(columns["d"], "f4"),
        }
    )


KINDS = {
    "pandas": pd.DataFrame,
    "pandas converted": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "pandas nullable": pandas_of_each_kind,
    "pandas of Arrow": lambda columns: pd.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
    "pandas sparse": lambda columns: pd.DataFrame(columns).astype({"c": "Sparse[int]", "d": "Sparse[float]"}),
    "polars": pl.DataFrame,
    "Arrow table": pa.table,
    "Arrow batch": pa.RecordBatch.from_pydict,
}


def named(names):
    net = MLP((4, 3, 1), dtype="float64", seed=1)
    net.feature_names = names
    return net


@pytest.fixture(params=KINDS)
def frame(request):
    return KINDS[request.param](COLUMNS)


def reordered(frame, names):
    return frame.select(names) if hasattr(frame, "select") else frame[names]


def test_43_mixed_frames_are_their_numbers(frame):
    net = MLP((4, 3, 1), dtype="float64", seed=1)
    expected = net.predict(TABLE)
    assert (net.predict(frame) == expected).all()
    assert net.loss(frame, Y) == net.loss(TABLE, Y)
    assert (kernels.forward(frame, net.weights)[:, 0] == expected).all()
    trained, same = (MLP((4, 3, 1), seed=1) for _ in range(2))
    Trainer(trained, seed=1).fit(frame, Y, 3, validation_data=(frame, Y))
    Trainer(same, seed=1).fit(TABLE, Y, 3, validation_data=(TABLE, Y))
    assert (trained.parameters == same.parameters).all()
    assert trained.feature_names == ("a", "b", "c", "d")


def test_44_columns_in_another_order_are_put_in_order(frame, tmp_path):
    net = named(None)
    Trainer(net, seed=1).fit(frame, Y, 3)
    net.save(tmp_path / "net")
    loaded = MLP.load(tmp_path / "net")
    other = reordered(frame, ["d", "b", "a", "c"])
    assert (loaded.predict(other) == loaded.predict(frame)).all()
    assert loaded.loss(other, Y) == loaded.loss(frame, Y)
    for X in (frame, other):
        again = MLP.load(tmp_path / "net")
        history = Trainer(again, shuffle=False).fit(X, Y, 3, validation_data=(other, Y))
        assert history.validation_loss[-1] == again.loss(TABLE, Y)


@pytest.mark.parametrize("use", ["predict", "loss", "gradients", "fit", "validate", "resume"])
def test_44_other_names_are_refused_on_every_way_in(frame, use, tmp_path):
    net = named(("a", "b", "c", "other"))
    trainer = Trainer(named(None))
    trainer.fit(TABLE, Y, 1)
    trainer.network.feature_names = net.feature_names
    trainer.save_checkpoint(tmp_path / "checkpoint")
    calls = {
        "predict": lambda: net.predict(frame),
        "loss": lambda: net.loss(frame, Y),
        "gradients": lambda: net.loss_and_gradients(frame, Y),
        "fit": lambda: Trainer(net).fit(frame, Y, 1),
        "validate": lambda: Trainer(net).fit(TABLE, Y, 1, validation_data=(frame, Y)),
        "resume": lambda: Trainer.resume(tmp_path / "checkpoint", frame, Y),
    }
    before = net.parameters.copy()
    with pytest.raises(
        ValueError, match=r": its columns are not those of the network: without 'other'; with 'd'"
    ):
        calls[use]()
    assert (net.parameters == before).all()


def test_44_extra_columns_are_refused(frame):
    net = MLP((2, 3, 1))
    net.feature_names = ("c", "a")
    with pytest.raises(ValueError, match="with 'b', 'd'; give 'c', 'a'"):
        net.predict(frame)
    assert net.predict(reordered(frame, ["a", "c"])).shape == (4,)


def test_validation_follows_the_names_of_the_training_frame(frame):
    X = reordered(frame, ["c", "d", "b", "a"])
    net = named(None)
    history = Trainer(net, seed=1).fit(X, Y, 2, validation_data=(frame, Y))
    assert net.feature_names == ("c", "d", "b", "a")
    assert history.validation_loss[-1] == net.loss(TABLE[:, [2, 3, 1, 0]], Y)


def test_names_count_only_where_all_are_strings():
    net = named(("a", "b", "c", "d"))
    for names in ([0, 1, 2, 3], ["d", "c", "b", 0]):
        assert (net.predict(pd.DataFrame(TABLE, columns=names)) == net.predict(TABLE)).all()
    fresh = named(None)
    Trainer(fresh).fit(pd.DataFrame(TABLE), Y, 1)
    assert fresh.feature_names is None


def test_targets_in_frames_are_put_in_order():
    Y2 = pd.DataFrame({"y": Y, "z": 2 * Y})
    net = MLP((4, 3, 2), seed=1)
    Trainer(net, seed=1).fit(TABLE, Y2, 2)
    assert net.target_names == ("y", "z")
    assert net.loss(TABLE, Y2[["z", "y"]]) == net.loss(TABLE, Y2)
    fresh = MLP((4, 3, 2), seed=1)
    history = Trainer(fresh, seed=1).fit(TABLE, Y2, 2, validation_data=(TABLE, Y2[["z", "y"]]))
    assert np.isclose(history.validation_loss[-1], fresh.loss(TABLE, Y2), rtol=1e-6)
    with pytest.raises(ValueError, match=r"^y: its columns .*with 'x'"):
        net.loss(TABLE, Y2.rename(columns={"y": "x"}))


@pytest.mark.parametrize(
    "make",
    [
        lambda values: pd.Series(values).convert_dtypes(),
        lambda values: pd.Series(values, dtype="Float64"),
        lambda values: pd.Series(values).convert_dtypes(dtype_backend="pyarrow"),
        pl.Series,
        pa.array,
        lambda values: pa.chunked_array([values[:2], values[2:]]),
    ],
)
def test_series_are_targets_and_weights(make):
    net = MLP((4, 3, 1), dtype="float64", seed=1)
    w = [1, 2, 0, 3]
    assert net.loss(TABLE, make([0, 1, 2, 3]), make(w)) == net.loss(TABLE, Y, w)
    with pytest.raises(ValueError, match=r"^y: row 1 holds NaN"):
        Trainer(net).fit(TABLE, make([0, None, 2, 3]), 1)


@pytest.mark.parametrize(
    "kind", ["pandas converted", "pandas of Arrow", "polars", "Arrow table", "Arrow batch"]
)
@pytest.mark.parametrize("name", list(COLUMNS))
def test_43_null_is_nan(kind, name):
    columns = COLUMNS | {name: [COLUMNS[name][0], None, *COLUMNS[name][2:]]}
    net = MLP((4, 3, 1), dtype="float64", seed=1)
    predicted = net.predict(KINDS[kind](columns))
    assert np.isnan(predicted).tolist() == [False, True, False, False]
    assert (predicted[[0, 2, 3]] == net.predict(TABLE)[[0, 2, 3]]).all()


WRONG = {
    "text": (["x", "y", "z", "x"], "encode it as numbers, or leave the column out"),
    "dates": (np.arange(4).astype("datetime64[D]").astype("datetime64[us]"), "days since"),
    "durations": (np.arange(4).astype("timedelta64[us]"), "days since"),
}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("kind", WRONG)
def test_43_columns_of_another_kind_are_named(make, kind):
    values, advice = WRONG[kind]
    with pytest.raises(TypeError, match=rf"^X: column 'c' holds .*{advice}"):
        MLP((4, 3, 1)).predict(make(COLUMNS | {"c": values}))


@pytest.mark.parametrize("dtype", ["category", "object", "complex"])
def test_43_pandas_columns_without_numbers_are_named(dtype):
    with pytest.raises(TypeError, match=rf"^X: column 'c' holds {dtype}"):
        MLP((4, 3, 1)).predict(pd.DataFrame(COLUMNS).astype({"c": dtype}))


def test_43_a_name_that_stands_for_two_columns_is_an_error():
    frame = pd.DataFrame(TABLE, columns=["a", "b", "b", "c"])
    with pytest.raises(ValueError, match=r"^X: column 'b' appears twice"):
        MLP((4, 3, 1)).predict(frame)
    net = named(("a", "b", "c", "d"))
    with pytest.raises(ValueError, match=r"^X: .*more than one 'b'"):
        net.predict(frame)


@pytest.mark.parametrize(
    "sparse",
    [scipy.sparse.csr_matrix, scipy.sparse.csr_array, scipy.sparse.coo_array, scipy.sparse.csc_matrix],
)
def test_43_sparse_matrices_are_an_error_that_says_what_to_do(sparse):
    X = sparse(TABLE)
    net = MLP((4, 3, 1))
    for call in (lambda: net.predict(X), lambda: Trainer(net).fit(X, Y)):
        with pytest.raises(TypeError, match=r"^X: a sparse matrix; give X\.toarray\(\)"):
            call()
    net.predict(X.toarray())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([["a", "b"], ["c", "d"]], "encode the texts"),
        (np.array([["1", "2"]]), "encode the texts"),
        (np.array([["2020-01-01", "2020-01-02"]], "M8[D]"), "the days since"),
        (np.array([[1, None]], object), "numpy.array"),
        (np.ones((1, 2), complex), "real and imaginary"),
        (np.ones((1, 2), np.longdouble), "numpy.array"),
        (np.ones((1,), [("a", float), ("b", float)]), "structured_to_unstructured"),
    ],
)
def test_messages_have_a_remedy_for_the_kind_of_input(value, message):
    with pytest.raises(TypeError, match=rf"^X: dtype .* is not taken; .*{message}"):
        MLP((2, 3, 1)).predict(value)


@pytest.mark.parametrize("row", [[1.0, 2.0, 3.0], np.ones(3), pd.Series([1.0, 2.0, 3.0]), (1, 2, 3)])
def test_one_row_as_the_message_says(row):
    net = MLP((3, 4, 1))
    with pytest.raises(ValueError, match=r"for one row, \[X\]"):
        net.predict(row)
    assert net.predict([row]).shape == (1,)


def test_frames_of_nothing_are_refused():
    net = MLP((2, 3, 1))
    for frame in (pd.DataFrame({"a": [], "b": []}), pd.DataFrame(index=range(3)), pl.DataFrame()):
        with pytest.raises(ValueError, match=r"^X: is empty"):
            net.predict(frame)


def test_frames_are_not_narrowed_before_they_are_measured():
    frame = pd.DataFrame({"a": 2**40 + np.arange(10), "b": np.arange(10) % 2 == 0})
    net = fastmlp.MLP((2, 8, 1), dtype="float64", seed=1)
    history = Trainer(net, learning_rate=0.01, standardize=True, seed=1).fit(frame, np.arange(10), 2000)
    assert history.loss[-1] < 0.1


def test_what_only_looks_like_a_series_is_read_as_an_array():
    class Labelled:  # as xarray's DataArray
        dtype, shape = np.dtype(float), TABLE.shape

        def to_numpy(self):
            return TABLE

        def __array__(self, dtype=None, copy=None):
            return TABLE

    net = MLP((4, 3, 1), dtype="float64", seed=1)
    assert (net.predict(Labelled()) == net.predict(TABLE)).all()
