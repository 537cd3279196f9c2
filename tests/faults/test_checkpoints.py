"""Checkpoints: a fit that was cut off anywhere ends with the bits of one that was not."""

import json
import os
import shutil
import signal
import threading
from fractions import Fraction

import numpy as np
import programs
import pytest
from safetensors import safe_open

from fastmlp import MLP, SGD, Adam, AdamW, Trainer, kernels
from fastmlp.training import checkpoint as checkpoints

EPOCHS, EVERY = 12, 4

# Pairwise: any two values of these columns meet somewhere. sizes of the network; dtype; settings of the
# trainer; settings of the fit; what else there is: w sample weights, v validation data, c a callback that
# counts, 2 a fit before the one that is cut off
CASES = {
    "plain": ((3, 4, 1), "float32", {}, {}, ""),
    "wide, weighted": (
        (3, 20, 2),
        "float64",
        {"optimizer": AdamW(0.01, weight_decay=0.1), "standardize": True},
        {},
        "wc",
    ),
    "momentum, validation": (
        (3, 4, 2),
        "float32",
        {"optimizer": SGD(0.01, momentum=0.9), "standardize": True},
        {},
        "v2",
    ),
    "nesterov, all rows": (
        (3, 20, 1),
        "float64",
        {"optimizer": SGD(0.002, momentum=0.9, nesterov=True), "batch_size": None},
        {},
        "wv2",
    ),
    "patience on the training loss": (
        (3, 4, 1),
        "float64",
        {"optimizer": "adam", "learning_rate": 0.5, "standardize": True},
        {"patience": 3},
        "c2",
    ),
    "patience on the validation loss": (
        (3, 20, 1),
        "float32",
        {"optimizer": "adam", "learning_rate": 0.05, "standardize": True},
        {"patience": 3},
        "v",
    ),
    "patience that is not used up": (
        (3, 4, 2),
        "float64",
        {"optimizer": "adamw", "l2": 0.1},
        {"patience": EPOCHS},
        "wvc",
    ),
    "all rows, nothing drawn": (
        (3, 4, 2),
        "float32",
        {"optimizer": "adamw", "batch_size": None, "standardize": True},
        {},
        "w2",
    ),
    "not shuffled": (
        (3, 20, 2),
        "float32",
        {"optimizer": "adam", "shuffle": False, "batch_size": 7},
        {"patience": 5},
        "2",
    ),
    "not shuffled, plain steps": (
        (3, 4, 1),
        "float64",
        {"optimizer": "sgd", "shuffle": False, "standardize": True, "l2": 0.01},
        {},
        "vc",
    ),
    "one row at a time": ((3, 4, 1), "float32", {"optimizer": SGD(0.001), "batch_size": 1}, {}, "w2"),
    "more rows than there are": ((3, 4, 1), "float32", {"batch_size": 1000, "standardize": True}, {}, "wv"),
}


def problem(case):
    """(X, y, the other arguments of the fit that are data) of a case."""
    (d, _, m), _, _, _, extras = CASES[case]
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, d)) * [1, 2, 0.1] + [0, 3, 2]
    y = 3 * np.sin(X) @ rng.normal(size=(d, m)) + rng.normal(size=(90, m))
    more = {}
    if "w" in extras:
        more["sample_weight"] = rng.uniform(0.1, 2, 60)
    if "v" in extras:
        more["validation_data"] = (X[60:], y[60:])
    return X[:60], y[:60], more


def new_trainer(case):
    sizes, dtype, settings, _, _ = CASES[case]
    return Trainer(MLP(sizes, dtype=dtype, seed=1), seed=2, **settings)


def start(case):
    """A trainer at the beginning of the fit that is going to be cut off."""
    trainer = new_trainer(case)
    if "2" in CASES[case][4]:
        X, y, more = problem(case)
        trainer.fit(X, y, epochs=5, **more)
    return trainer


def fit(trainer, case, epochs=EPOCHS, **options):
    X, y, more = problem(case)
    return trainer.fit(X, y, epochs, **more, **CASES[case][3], **options)


def resume_on(path, X, y, sample_weight, validation_data, **options):
    return Trainer.resume(path, X, y, sample_weight=sample_weight, validation_data=validation_data, **options)


def resume(path, case, **options):
    X, y, more = problem(case)
    return Trainer.resume(path, X, y, **more, **options)


def state(trainer):
    """All that further training depends on, and what the last fit reports, to the bit."""
    history = trainer.history
    scaling = () if trainer.scaling is None else vars(trainer.scaling).values()
    return {
        "parameters": trainer.network.parameters.tobytes(),
        "trained": trainer.network.trained,
        "moments": trainer._state.moments.tobytes(),
        "steps": trainer._state.steps,
        "random stream": repr(trainer._state.bit_generator.state),
        "scaling": [array.tobytes() for array in scaling],
        "loss": history.loss,
        "validation_loss": history.validation_loss,
        "best_epoch": history.best_epoch,
        "stop_reason": history.stop_reason,
    }


def assert_goes_on_alike(trainer, expected, case):
    """Two trainers are the same now, and after some more epochs."""
    assert state(trainer) == state(expected)
    assert len(trainer.history.seconds) == len(trainer.history.loss)
    for each in (trainer, expected):
        fit(each, case, epochs=3)
    assert state(trainer) == state(expected)


class Cut(Exception):
    pass


def cut_at(last):
    """A callback that cuts the fit off after so many epochs."""

    def callback(epoch, history):
        assert len(history.loss) == epoch + 1
        if epoch + 1 == last:
            raise Cut

    return callback


def cut_off(path, case, last):
    """Write the checkpoints of a fit that an exception ends after so many epochs; return the trainer."""
    trainer = start(case)
    with pytest.raises(Cut):
        fit(trainer, case, checkpoint=path, checkpoint_every=EVERY, callback=cut_at(last))
    return trainer


def uninterrupted(case):
    trainer = start(case)
    fit(trainer, case, callback=(lambda *_: None) if "c" in CASES[case][4] else None)
    return trainer


# epochs after which the fit is cut off, and those that its last checkpoint then holds; at the end of
# epoch 4 the callback comes before the checkpoint
CUTS = {1: 0, 3: 0, 4: 0, 5: 4, 8: 4, 11: 8, 12: 8}


@pytest.mark.parametrize("last", CUTS)
@pytest.mark.parametrize("case", CASES)
def test_27_cut_off_and_resumed_is_the_uninterrupted_fit(tmp_path, case, last):
    path = tmp_path / "checkpoint.safetensors"
    expected = uninterrupted(case)
    if last > len(expected.history.loss):  # patience ends the fit before
        last = len(expected.history.loss)
    cut_off(path, case, last)
    assert epochs_in(path) == CUTS.get(last, (last - 1) // EVERY * EVERY)
    callback = None if "c" not in CASES[case][4] else lambda *_: None
    resumed = resume(path, case, callback=callback)
    assert epochs_in(path) is None  # of the run: it is over
    from_the_end = resume(path, case)
    assert state(from_the_end) == state(expected)
    assert_goes_on_alike(resumed, expected, case)


def test_the_cases_stop_as_their_names_say():
    reasons = {case: uninterrupted(case).history.stop_reason for case in CASES}
    patient = {"patience on the training loss", "patience on the validation loss"}
    assert {case for case, reason in reasons.items() if reason == "patience"} == patient
    assert {reasons[case] for case in CASES if case not in patient} == {"epochs"}


def test_27_resumed_where_the_caches_are_others(tmp_path, rng):
    """The size of blocks, and with it the order of sums, is that of the machine where the fit began."""
    there, here = (32 << 10, 256 << 10), (64 << 10, 4 << 20)
    X, y = rng.normal(size=(300, 900)).astype("float32"), rng.normal(size=300)
    path = tmp_path / "checkpoint.safetensors"

    def fitted(caches, **options):
        with kernels.use(caches=caches):
            trainer = Trainer(MLP((900, 100, 1), seed=0), batch_size=None)
            trainer.fit(X, y, 4, **options)
        return trainer.network.parameters.tobytes()

    expected, other = fitted(there), fitted(here)
    assert expected != other
    with pytest.raises(Cut):
        fitted(there, checkpoint=path, checkpoint_every=2, callback=cut_at(3))
    with kernels.use(caches=here):
        resumed = Trainer.resume(path, X, y)
    assert resumed.network.parameters.tobytes() == expected


def epochs_in(path):
    """Epochs that a checkpoint's fit had done; None where it was over."""
    with safe_open(path, framework="numpy") as file:
        run = json.loads(file.metadata()["state"])["fit"]
    return run and run["epoch"]


@pytest.mark.parametrize("case", CASES)
def test_27_cut_off_again_and_again(tmp_path, case):
    """Each time after one more epoch than the checkpoint holds, now with and now without a callback."""
    path = tmp_path / "checkpoint.safetensors"
    expected = uninterrupted(case)
    cut_off(path, case, 1)
    for last in (5, 9):
        if last <= len(expected.history.loss):
            with pytest.raises(Cut):
                resume(path, case, callback=cut_at(last))
            assert epochs_in(path) == last - 1
    assert_goes_on_alike(resume(path, case), expected, case)


@pytest.mark.parametrize("writes", [1, 2, 3, 4])
@pytest.mark.parametrize("case", ["plain", "wide, weighted", "patience on the training loss"])
def test_27_cut_off_by_a_checkpoint_that_cannot_be_written(tmp_path, monkeypatch, case, writes):
    """Without a callback, so that the epochs between checkpoints are one compiled call."""
    path = tmp_path / "checkpoint.safetensors"
    expected = uninterrupted(case)
    writes = min(writes, 1 + -(-len(expected.history.loss) // EVERY))
    replace = os.replace

    def fail_at_last(*names, done=[]):  # noqa: B006 (it counts)
        done.append(names)
        if len(done) == writes:
            raise OSError(28, "No space left on device")
        replace(*names)

    trainer = start(case)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail_at_last)
        with pytest.raises(OSError, match="No space"):
            fit(trainer, case, checkpoint=path, checkpoint_every=EVERY)
    if writes == 1:
        assert not path.exists()  # before the first epoch: nothing is lost, and nothing has been trained
        assert not trainer.network.trained or "2" in CASES[case][4]
        fit(trainer, case, checkpoint=path, checkpoint_every=EVERY)
        assert_goes_on_alike(trainer, expected, case)
    else:
        assert epochs_in(path) == (writes - 2) * EVERY
        assert_goes_on_alike(resume(path, case), expected, case)


@pytest.mark.parametrize("case", CASES)
def test_27_saved_in_a_callback_and_resumed(tmp_path, case):
    """After every epoch, the last one too: what comes after it is as if nothing had happened."""
    path = tmp_path / "checkpoint.safetensors"
    copies = []
    trainer = start(case)

    def callback(epoch, history):
        trainer.save_checkpoint(path)
        copies.append(tmp_path / f"{epoch}.safetensors")
        shutil.copy(path, copies[-1])

    fit(trainer, case, callback=callback)
    assert len(copies) == len(trainer.history.loss)
    wanted = state(trainer)
    for epoch, copy in enumerate(copies):
        before = copy.read_bytes()
        called = []
        resumed = resume(copy, case, callback=lambda epoch, history, called=called: called.append(epoch))
        assert state(resumed) == wanted
        assert called == list(range(epoch + 1, len(copies)))
        assert copy.read_bytes() == before  # the fit wrote no checkpoints, so the resumed one does not


def test_27_saved_between_fits(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    for case in CASES:
        trainer = new_trainer(case)
        X, y, more = problem(case)
        trainer.save_checkpoint(path)
        unused = Trainer.resume(path, X, y, **more)
        assert unused.history is None
        for each in (trainer, unused):
            fit(each, case)
        assert state(unused) == state(trainer)
        trainer.save_checkpoint(path)
        assert_goes_on_alike(resume(path, case), trainer, case)


def test_27_changed_weights_are_saved_as_they_are(tmp_path):
    """A network that was changed by hand after a fit that standardises."""
    path = tmp_path / "checkpoint.safetensors"
    case = "momentum, validation"
    trainer = uninterrupted(case)
    trainer.network.parameters *= 1.5
    trainer.save_checkpoint(path)
    resumed = resume(path, case)
    assert_goes_on_alike(resumed, trainer, case)


def test_27_a_stop_by_the_callback_is_kept(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    trainer = start("plain")
    history = fit(
        trainer, "plain", checkpoint=path, checkpoint_every=EVERY, callback=lambda epoch, _: epoch == 5
    )
    assert history.stop_reason == "callback"
    assert_goes_on_alike(resume(path, "plain"), trainer, "plain")


@pytest.mark.parametrize("case", ["plain", "wide, weighted"])
def test_27_a_checkpoint_holds_the_network_of_its_epoch(tmp_path, case):
    """Also where no callback has asked for it: the file can be looked into."""
    path = tmp_path / "checkpoint.safetensors"
    copies, replace = [], os.replace

    def keep(temporary, target):
        copies.append(shutil.copy(temporary, tmp_path / f"{len(copies)}.safetensors"))
        replace(temporary, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.replace", keep)
        fit(start(case), case, checkpoint=path, checkpoint_every=EVERY)
    for copy, epochs in zip(copies[1:], (4, 8, 12), strict=True):
        shorter = start(case)
        fit(shorter, case, epochs=epochs)
        with safe_open(copy, framework="numpy") as file:
            np.testing.assert_array_equal(file.get_tensor("network"), shorter.network.parameters)


def test_27_what_counts_as_divergence_goes_on(tmp_path):
    """A network that starts 10**13 times worse than predicting 0: that is no divergence, nor is it later."""
    path = tmp_path / "checkpoint.safetensors"
    X, y, _, _ = everything()
    net = MLP((3, 4, 1), dtype="float64")
    net.parameters *= 1e4
    trainer = Trainer(net, SGD(1e-30), seed=1)
    with pytest.raises(Cut):
        trainer.fit(X, y, 5, callback=cut_at(3), checkpoint=path, checkpoint_every=1)
    assert trainer.history.loss[0] > 1e13 * np.mean(y**2)
    assert Trainer.resume(path, X, y).history.stop_reason == "epochs"


def test_27_names_and_threads(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    trainer = new_trainer("plain")
    trainer.network.feature_names, trainer.network.target_names = ("a", "b", "ü"), ("y",)
    fit(trainer, "plain", checkpoint=path)
    resumed = resume(path, "plain", n_threads=3)
    assert resumed.network.feature_names == ("a", "b", "ü")
    assert resumed.network.target_names == ("y",)
    assert resumed.n_threads == 3
    with pytest.raises(ValueError, match=r"^n_threads: "):
        resume(path, "plain", n_threads=0)


@pytest.mark.parametrize(
    "optimizer",
    [
        Adam(np.float32(0.01)),
        Adam(np.float64(0.01), eps=np.float32(1e-6)),
        Adam(1),
        Adam(np.int64(1)),
        Adam(Fraction(1, 64)),
        SGD(0.01, np.float32(0.5), nesterov=np.True_),
    ],
)
def test_27_hyper_parameters_of_any_type_come_back(tmp_path, optimizer):
    path = tmp_path / "checkpoint.safetensors"
    X, y, _ = problem("plain")
    trainer = Trainer(MLP((3, 4, 1)), optimizer, seed=1, standardize=True)
    trainer.fit(X, y, epochs=3, checkpoint=path)
    resumed = Trainer.resume(path, X, y, learning_rate=optimizer.learning_rate, optimizer=optimizer)
    for each in (trainer, resumed):
        each.fit(X, y, epochs=3)
    assert state(resumed) == state(trainer)


def test_27_a_subclass_comes_back_as_one(tmp_path):
    class Own(Trainer):
        pass

    X, y, _ = problem("plain")
    start("plain").save_checkpoint(tmp_path / "checkpoint.safetensors")
    assert type(Own.resume(tmp_path / "checkpoint.safetensors", X, y)) is Own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_27_killed_at_any_moment(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    found = json.loads(programs.output("killed_fits.py", path, timeout=300))
    kills = found["kills"]
    assert sum(kills.values()) >= 50, found
    assert kills["later"] + kills["of a resumed fit"] >= 30, found
    assert kills["of a resumed fit"] >= 5, found
    assert found["compared"] >= 15, found
    assert found["equal"] == found["compared"], found


@pytest.fixture
def cut(tmp_path):
    """The checkpoint of a fit with everything, cut off after five epochs."""
    path = tmp_path / "checkpoint.safetensors"
    X, y, w, validation = everything()
    with pytest.raises(Cut):
        Trainer(MLP((3, 4, 1)), Adam(0.01), seed=1, standardize=True, batch_size=16).fit(
            X,
            y,
            EPOCHS,
            sample_weight=w,
            validation_data=validation,
            patience=10,
            callback=cut_at(5),
            checkpoint=path,
            checkpoint_every=EVERY,
        )
    return path


def everything():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)).astype("float32"), rng.normal(size=50).astype("float32")
    return X[:30], y[:30], rng.uniform(1, 2, 30).astype("float32"), (X[30:], y[30:])


def nudged(array):
    """The same but for the last bit of one number."""
    array = array.copy()
    array.flat[-1] = np.nextafter(array.flat[-1], np.float32(np.inf))
    return array


OTHER_DATA = {
    "X": (lambda X, y, w, v: (nudged(X), y, w, v), r"^X: .*; the numbers differ"),
    "rows of X in another order": (lambda X, y, w, v: (X[::-1], y, w, v), r"^X: .*; the numbers differ"),
    "fewer rows": (lambda X, y, w, v: (X[:-1], y[:-1], w[:-1], v), r"^X: .*\(30, 3\), here .*\(29, 3\)"),
    "y": (lambda X, y, w, v: (X, nudged(y), w, v), r"^y: .*; the numbers differ"),
    "weights": (lambda X, y, w, v: (X, y, nudged(w), v), r"^sample_weight: .*; the numbers differ"),
    "no weights": (lambda X, y, w, v: (X, y, None, v), r"^sample_weight: .*\(30,\), here None"),
    "no validation": (lambda X, y, w, v: (X, y, w, None), r"^validation_data\[0\]: .*\(20, 3\), here None"),
    "fewer to validate": (
        lambda X, y, w, v: (X, y, w, (v[0][1:], v[1][1:])),
        r"^validation_data\[0\]: .*\(20, 3\), here of shape \(19, 3\)",
    ),
    "Xv": (
        lambda X, y, w, v: (X, y, w, (nudged(v[0]), v[1])),
        r"^validation_data\[0\]: .*; the numbers differ",
    ),
    "yv": (
        lambda X, y, w, v: (X, y, w, (v[0], nudged(v[1]))),
        r"^validation_data\[1\]: .*; the numbers differ",
    ),
    "features": (lambda X, y, w, v: (X[:, :2], y, w, v), r"^X: must have 3 columns"),
    "NaN": (lambda X, y, w, v: (X * np.nan, y, w, v), r"^X: row 0"),
}


@pytest.mark.parametrize("what", OTHER_DATA)
def test_27_other_data_are_refused(cut, what):
    change, message = OTHER_DATA[what]
    before = cut.read_bytes()
    with pytest.raises(ValueError, match=message):
        resume_on(cut, *change(*everything()))
    assert cut.read_bytes() == before
    assert resume_on(cut, *everything()).history.stop_reason == "epochs"


@pytest.mark.parametrize("add", ["sample_weight", "validation_data"])
def test_27_data_that_the_fit_had_not_are_refused(tmp_path, add):
    path = tmp_path / "checkpoint.safetensors"
    X, y, w, validation = everything()
    Trainer(MLP((3, 4, 1))).fit(X, y, epochs=2, checkpoint=path)
    with pytest.raises(ValueError, match=rf"^{add}.*: .*there None, here of shape"):
        Trainer.resume(path, X, y, **{add: {"sample_weight": w, "validation_data": validation}[add]})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_27_one_changed_bit_of_large_data_is_seen(tmp_path, rng, dtype):
    """Also numbers that change places: a large array's check sum is one of sums."""
    path, X = tmp_path / "checkpoint", rng.random((30_011, 3), dtype=dtype)
    trainer = Trainer(MLP((3, 4, 1), dtype=dtype), batch_size=None)
    trainer.fit(X, X[:, 0], 1)
    trainer.save_checkpoint(path)
    assert Trainer.resume(path, X.copy(), X[:, 0]).history.loss == trainer.history.loss

    def refused(changed):
        with pytest.raises(ValueError, match="X: "):
            Trainer.resume(path, changed, X[:, 0])

    for place in (0, 1, 40_000, X.size - 2, X.size - 1):
        changed = X.copy()
        changed.reshape(-1).view(f"u{X.itemsize}")[place] ^= 1
        refused(changed)
    for place, other in ((5, 6), (5, 305), (0, 90_032)):  # of a square of 300 x 300: in a row, in a column
        changed = X.copy()
        changed.reshape(-1)[[place, other]] = X.reshape(-1)[[other, place]]
        refused(changed)
    refused(X[:, ::-1])
    refused(X[::-1])


def test_27_the_same_numbers_in_other_types_are_the_same_data(cut):
    X, y, w, (Xv, yv) = everything()
    resumed = resume_on(cut, X.astype("float64"), y.reshape(-1, 1), w.tolist(), (np.asfortranarray(Xv), yv))
    assert resumed.history.stop_reason == "epochs"


AS_SAVED = {
    "sizes": (3, 4, 1),
    "dtype": "float32",
    "optimizer": "adam",
    "learning_rate": 0.01,
    "batch_size": 16,
    "l2": 0.0,
    "shuffle": True,
    "standardize": True,
    "epochs": EPOCHS,
    "patience": 10,
    "checkpoint_every": EVERY,
}


def test_27_settings_as_expected(cut):
    copy = cut.with_name("copy.safetensors")
    shutil.copy(cut, copy)
    resume_on(cut, *everything(), **AS_SAVED)
    resume_on(copy, *everything(), sizes=[3, 4, 1], dtype=np.float32, optimizer=Adam(0.01))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sizes", (3, 5, 1)),
        ("sizes", (3, 4)),
        ("dtype", "float64"),
        ("optimizer", "adamw"),
        ("optimizer", "sgd"),
        ("optimizer", Adam(0.01, beta1=0.8)),
        ("optimizer", Adam(0.02)),
        ("learning_rate", 0.011),
        ("batch_size", 17),
        ("batch_size", None),
        ("l2", 1e-9),
        ("shuffle", False),
        ("standardize", False),
        ("epochs", EPOCHS + 1),
        ("patience", 9),
        ("patience", None),
        ("checkpoint_every", EVERY + 1),
    ],
)
def test_27_other_settings_are_refused(cut, name, value):
    before = cut.read_bytes()
    message = rf"^{name}: the checkpoint .*checkpoint\.safetensors has .*, not "
    with pytest.raises(ValueError, match=message):
        resume_on(cut, *everything(), **(AS_SAVED | {name: value}))
    assert cut.read_bytes() == before


@pytest.mark.parametrize("name", ["seed", "hidden", "n_epochs"])
def test_27_settings_that_there_are_not(cut, name):
    with pytest.raises(
        TypeError, match=rf"^{name}: a checkpoint has no such setting; it has sizes, activation"
    ):
        resume_on(cut, *everything(), **{name: 1})


def test_27_a_finished_fit_has_no_epochs_to_expect(tmp_path):
    X, y, _, _ = everything()
    Trainer(MLP((3, 4, 1))).fit(X, y, epochs=2, checkpoint=tmp_path / "checkpoint.safetensors")
    with pytest.raises(ValueError, match=r"^epochs: .* has None, not 2"):
        Trainer.resume(tmp_path / "checkpoint.safetensors", X, y, epochs=2)


def test_27_a_new_fit_does_not_replace_one_that_was_cut_off(cut):
    before = cut.read_bytes()
    X, y, _, _ = everything()
    net = MLP((3, 4, 1))
    parameters = net.parameters.copy()
    with pytest.raises(FileExistsError, match=r"^checkpoint: .* unfinished fit \(4 of 12 epochs\).*resume"):
        Trainer(net).fit(X, y, epochs=2, checkpoint=cut)
    assert cut.read_bytes() == before
    np.testing.assert_array_equal(net.parameters, parameters)
    assert resume_on(cut, *everything()).history.stop_reason == "epochs"
    Trainer(net).fit(X, y, epochs=2, checkpoint=cut)  # now that one is over
    assert len(Trainer.resume(cut, X, y).history.loss) == 2


def model(path):
    MLP((3, 4, 1)).save(path)


def newer(path):
    from fastmlp.io import files

    files.save_tensors(path, {"any": np.zeros(1)}, {"format": checkpoints.FORMAT, "format_version": "9"})


def half(path):
    Trainer(MLP((3, 4, 1))).save_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("my notes"), "not a fastmlp checkpoint"),
        (lambda path: path.write_bytes(b""), "not a fastmlp checkpoint"),
        (model, "format='fastmlp checkpoint'"),
        (newer, "version 9.*reads versions up to 2"),
        (half, "not a fastmlp checkpoint"),
    ],
)
def test_27_a_fit_does_not_replace_what_is_no_checkpoint(tmp_path, make, message):
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes()
    X, y, _, _ = everything()
    with pytest.raises(FileExistsError, match=f"^checkpoint: .*{message}"):
        Trainer(MLP((3, 4, 1))).fit(X, y, epochs=2, checkpoint=path)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=message):
        Trainer.resume(path, X, y)


def test_27_what_the_system_has_against_the_path(tmp_path):
    X, y, _, _ = everything()
    with pytest.raises(FileNotFoundError, match="absent"):
        Trainer.resume(tmp_path / "absent", X, y)
    net = MLP((3, 4, 1))
    parameters = net.parameters.copy()
    for path, error in ((tmp_path / "no" / "file", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match=path.name):
            Trainer(net).fit(X, y, epochs=2, checkpoint=path)
    np.testing.assert_array_equal(net.parameters, parameters)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", checkpoints.BIT_GENERATORS)
@pytest.mark.parametrize("drawn", [0, 1, 1000])
def test_27_each_bit_generator_goes_on(tmp_path, name, drawn):
    """Also in the middle of what it has in store: 32 of 64 bits, a block of Philox, a word of MT19937."""
    path = tmp_path / "checkpoint.safetensors"
    X, y, _, _ = everything()
    fits = []
    for saved in (False, True):
        generator = np.random.Generator(getattr(np.random, name)(5))
        generator.integers(2**32, size=drawn, dtype=np.uint32)
        trainer = Trainer(MLP((3, 4, 1)), seed=generator, batch_size=8)
        if saved:
            trainer.save_checkpoint(path)
            trainer = Trainer.resume(path, X, y)
            assert type(trainer._state.bit_generator).__name__ == name
        trainer.fit(X, y, epochs=5)
        fits.append(state(trainer))
    assert fits[0] == fits[1]


def test_27_a_bit_generator_that_is_not_numpys_is_refused(tmp_path):
    class Home(np.random.PCG64):
        """Made at home: a state of its own."""

        @property
        def state(self):
            return {"bit_generator": "Home", "state": 1}

    X, y, _, _ = everything()
    net = MLP((3, 4, 1))
    trainer = Trainer(net, seed=np.random.Generator(Home(1)))
    parameters = net.parameters.copy()
    path = tmp_path / "checkpoint.safetensors"
    for save in (trainer.save_checkpoint, lambda path: trainer.fit(X, y, epochs=2, checkpoint=path)):
        with pytest.raises(ValueError, match=r"^seed: a checkpoint can hold MT19937, .*, not a Home"):
            save(path)
        assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(net.parameters, parameters)
    assert trainer.fit(X, y, epochs=2).stop_reason == "epochs"


def interrupt(epoch, history):
    if epoch == 6:
        signal.raise_signal(signal.SIGINT)


def test_20_an_interrupted_fit_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    case = "wide, weighted"
    expected = uninterrupted(case)
    history = fit(start(case), case, checkpoint=path, checkpoint_every=EVERY, callback=interrupt)
    assert (history.stop_reason, len(history.loss)) == ("interrupted", 7)
    assert epochs_in(path) == 4
    assert_goes_on_alike(resume(path, case), expected, case)


def test_20_an_interrupted_resume_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    case = "wide, weighted"
    cut_off(path, case, 2)
    trainer = resume(path, case, callback=interrupt)
    assert (trainer.history.stop_reason, len(trainer.history.loss)) == ("interrupted", 7)
    assert epochs_in(path) == 4
    assert_goes_on_alike(resume(path, case), uninterrupted(case), case)


def test_20_a_checkpoint_that_is_interrupted_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    replace, done = os.replace, []

    def interrupt_third(*names):
        done.append(names)
        if len(done) == 3:
            signal.raise_signal(signal.SIGINT)
        replace(*names)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", interrupt_third)
        history = fit(start("plain"), "plain", checkpoint=path, checkpoint_every=EVERY)
    assert (history.stop_reason, len(history.loss)) == ("interrupted", 8)
    assert epochs_in(path) == 4
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert_goes_on_alike(resume(path, "plain"), uninterrupted("plain"), "plain")


def test_12_a_fit_that_diverges_leaves_the_last_checkpoint(tmp_path):
    """And diverges again, at the same epoch, when it is resumed."""
    path = tmp_path / "checkpoint.safetensors"
    X, y, _, _ = everything()
    trainer = Trainer(MLP((3, 4, 1), dtype="float64"), SGD(8.0), seed=1)
    with pytest.warns(RuntimeWarning, match="diverged"):
        history = trainer.fit(X, y, epochs=1000, checkpoint=path, checkpoint_every=1)
    assert history.stop_reason == "diverged"
    assert epochs_in(path) == len(history.loss) > 0
    with pytest.warns(RuntimeWarning, match="diverged"):
        resumed = Trainer.resume(path, X, y)
    assert state(resumed) == state(trainer)
    trainer.optimizer = resumed.optimizer = SGD(0.001)
    for each in (trainer, resumed):
        each.fit(X, y, epochs=3)
    assert state(resumed) == state(trainer)


def test_21_after_an_exception_the_trainer_can_be_used(tmp_path):
    """The checkpoint is one thing, the trainer with its best weights another."""
    path = tmp_path / "checkpoint.safetensors"
    case = "patience on the validation loss"
    trainer = cut_off(path, case, 5)
    assert fit(trainer, case).stop_reason in ("epochs", "patience")
    assert_goes_on_alike(resume(path, case), uninterrupted(case), case)


@pytest.fixture
def under_way():
    """A fit that has come to its third epoch and waits, in a thread: (trainer, X, y, function to end it)."""
    X, y, _, _ = everything()
    trainer = Trainer(MLP((3, 4, 1), dtype="float64", seed=1), learning_rate=0.01, seed=1, standardize=True)
    there, further = threading.Event(), threading.Event()

    def wait(epoch, history):
        if epoch == 2:
            there.set()
            assert further.wait(60)

    fitting = threading.Thread(target=trainer.fit, args=(X, y, EPOCHS), kwargs={"callback": wait})
    fitting.start()
    assert there.wait(60)

    def end():
        further.set()
        fitting.join(60)
        assert not fitting.is_alive()

    yield trainer, X, y, end
    end()


@pytest.mark.parametrize("second", ["the same trainer", "another trainer"])
def test_23_two_fits_of_one_network(tmp_path, under_way, second):
    trainer, X, y, end = under_way
    other = trainer if second == "the same trainer" else Trainer(trainer.network, "sgd", seed=3)
    before = trainer.network.parameters.copy()
    for options in ({}, {"checkpoint": tmp_path / "checkpoint.safetensors"}, {"progress": True}):
        with pytest.raises(RuntimeError, match=r"^network: it is already being fitted"):
            other.fit(X * 2, y, epochs=3, **options)
    np.testing.assert_array_equal(trainer.network.parameters, before)
    assert list(tmp_path.iterdir()) == []
    end()
    alone = Trainer(MLP((3, 4, 1), dtype="float64", seed=1), learning_rate=0.01, seed=1, standardize=True)
    alone.fit(X, y, EPOCHS)
    assert state(trainer) == state(alone)
    assert other.fit(X, y, epochs=3).stop_reason == "epochs"


def test_23_another_network_can_be_fitted_meanwhile(under_way):
    _, X, y, _ = under_way
    assert Trainer(MLP((3, 4, 1))).fit(X, y, epochs=3).stop_reason == "epochs"


def test_23_a_fit_within_the_callback_of_another():
    X, y, _, _ = everything()
    trainer = Trainer(MLP((3, 4, 1)), seed=1)
    with pytest.raises(RuntimeError, match=r"^network: it is already"):
        trainer.fit(X, y, epochs=3, callback=lambda *_: trainer.fit(X, y, epochs=1))
    assert trainer.fit(X, y, epochs=3).stop_reason == "epochs"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_23_a_forked_child_has_no_fit_under_way():
    programs.output("forked_fit.py", timeout=300)


def test_27_data_that_are_gone_are_known_by_their_shape(tmp_path, rng):
    """A copy in the network's dtype is gone when a checkpoint asks after the fit."""
    Z, path = rng.normal(size=(50, 2)), tmp_path / "checkpoint"
    trainer = Trainer(MLP((2, 3, 1)), seed=0)
    trainer.fit(Z, Z[:, 0], 3)
    trainer.save_checkpoint(path)
    with pytest.raises(
        ValueError, match=r"^X: not the data of the checkpoint .*\(50, 2\), here of shape \(10, 2\)"
    ):
        Trainer.resume(path, Z[:10], Z[:10, 0])
    assert Trainer.resume(path, Z, Z[:, 0]).fit(Z, Z[:, 0], 1).stop_reason == "epochs"
