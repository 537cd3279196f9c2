import argparse
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import programs
import pytest

import fastmlp
from fastmlp import cli
from fastmlp.cli import main, readable
from fastmlp.datasets import TITANIC

QUICK = ["--epochs", "3", "--starts", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys, *arguments):
    """The one line that a failing command says."""
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("fastmlp: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in printed.err
    return lines[0]


def complete_titanic(folder):
    path = folder / "complete.csv"
    X, y = fastmlp.load_titanic()
    np.savetxt(
        path,
        np.column_stack([X, y]),
        fmt="%.17g",
        delimiter=",",
        header="age,class,survived,fare",
        comments="",
    )
    return path


def test_main_job(capsys):
    assert main(["train"]) == 0
    printed = capsys.readouterr().out
    assert "1045 rows, age, class, survived → fare" in printed
    assert "3 → 4 → 1" in printed
    assert f"{fastmlp.kernels.ISA} kernels" in printed
    rows = re.findall(r"^(constant|least squares|network)(( +[\d.]+){6})$", printed, re.MULTILINE)
    table = {name: [float(cell) for cell in cells.split()] for name, cells, _ in rows}
    assert table["constant"][4] == 3103.1
    assert table["least squares"][4] == 2089.4
    assert table["network"][4] <= 1930
    for mse, rmse in zip(table["network"][::2], table["network"][1::2], strict=True):
        assert np.isclose(mse**0.5, rmse, rtol=1e-3)
    assert re.search(
        r"An epoch takes [\d.]+ .s; the NumPy reference takes [\d.]+ .?s, \d+ times as long", printed
    )

    net = fastmlp.MLP.load("model.safetensors")
    assert net.feature_names == ("age", "class", "survived")
    assert net.target_names == ("fare",)
    X, y = fastmlp.load_titanic()
    assert np.isclose(net.loss(X, y), table["network"][4], rtol=1e-3)


def test_held_out_rows_are_not_trained_on(capsys):
    """The columns of the table, recalculated from the saved split: they differ from the whole."""
    assert main(["train", *QUICK]) == 0
    header, *_ = (line for line in capsys.readouterr().out.splitlines() if "train (" in line)
    assert re.findall(r"(\w+) \((\d+) rows\)", header) == [("train", "836"), ("test", "209"), ("all", "1045")]


def test_same_seed_same_model(folder):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["train", *QUICK, "--seed", str(seed), "--save", name]) == 0
    a, b, c = (fastmlp.MLP.load(folder / name).parameters for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_plot(folder):
    assert main(["train", *QUICK, "--plot", "loss.png"]) == 0
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert main(["train", *QUICK, "--test", "0", "--plot", "loss.svg"]) == 0
    assert b"<svg" in (folder / "loss.svg").read_bytes()


@pytest.mark.parametrize(("absent", "extra", "status"), [("matplotlib", "plot", 2), ("tqdm", "progress", 0)])
def test_missing_extras(folder, absent, extra, status):
    code = f"import sys; sys.modules['{absent}'] = None; from fastmlp.cli import main; sys.exit(main())"
    arguments = ["train", *QUICK, *["--plot", "loss.png"] * (extra == "plot")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == status
    assert f"pip install 'fastmlp[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_any_csv(folder, capsys):
    path = complete_titanic(folder)
    settings = [
        "--hidden",
        "3",
        "--optimizer",
        "sgd",
        "--dtype",
        "float64",
        "--l2",
        "0.001",
        "--init",
        "glorot",
    ]
    assert main(["train", str(path), "--target", "fare", *QUICK, *settings]) == 0
    assert "1045 rows, age, class, survived → fare" in capsys.readouterr().out
    assert fastmlp.MLP.load("model.safetensors").dtype == np.float64
    assert main(["train", str(path), "--target", "age", "--features", "fare, class", *QUICK]) == 0
    assert "1045 rows, fare, class → age" in capsys.readouterr().out
    assert fastmlp.MLP.load("model.safetensors").sizes == (2, 4, 1)


@pytest.mark.parametrize("rows", [1, 2])
def test_tables_of_a_row_or_two(folder, rows):
    (folder / "few.csv").write_text("a,b\n" + "1,2\n" * rows)
    assert main(["train", "few.csv", "--target", "b", "--test", "0.9", *QUICK]) == 0


def test_divergence_is_told(capsys):
    assert "--learning-rate: training diverged" in fails(capsys, "train", *QUICK, "--learning-rate", "1e30")


def test_predict_to_stdout_and_file(folder, capsys):
    path = complete_titanic(folder)
    assert main(["train", *QUICK]) == 0
    capsys.readouterr()
    assert main(["predict", "model.safetensors", str(path)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "fare"
    X, _ = fastmlp.load_titanic()
    expected = fastmlp.MLP.load("model.safetensors").predict(X)
    np.testing.assert_array_equal(np.array(lines, dtype="float32"), expected)
    assert main(["predict", "model.safetensors", str(path), "--output", "out.csv"]) == 0
    assert (folder / "out.csv").read_text().splitlines() == [header, *lines]


def test_predict_takes_columns_by_name(folder, capsys):
    assert main(["train", *QUICK]) == 0
    (folder / "some.csv").write_text("name,survived,age,class\nAllen,1,29,1\n")
    capsys.readouterr()
    assert main(["predict", "model.safetensors", "some.csv"]) == 0
    predicted = float(capsys.readouterr().out.splitlines()[1])
    assert predicted == fastmlp.MLP.load("model.safetensors").predict([[29, 1, 1]])[0]


def test_predict_without_names_takes_columns_in_order(folder, capsys):
    net = fastmlp.MLP((2, 3, 2), dtype="float64", seed=1)
    net.save("net.safetensors")
    (folder / "some.csv").write_text("p,q\n1,2\n3,4\n")
    assert main(["predict", "net.safetensors", "some.csv"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "prediction 1,prediction 2"
    found = [[float(cell) for cell in line.split(",")] for line in lines]
    np.testing.assert_array_equal(found, net.predict([[1, 2], [3, 4]]))
    (folder / "three.csv").write_text("p,q,r\n1,2,3\n")
    assert "3 columns, and the model takes 2" in fails(capsys, "predict", "net.safetensors", "three.csv")


def test_31_errors_are_one_line_and_status_2(folder, capsys):
    titanic = str(TITANIC)
    assert "line 17, column 'age': the cell is empty" in fails(capsys, "train", titanic, "--target", "fare")
    assert "--target" in fails(capsys, "train", titanic)
    assert "no column 'price'; the file has age, class" in fails(
        capsys, "train", titanic, "--target", "price"
    )
    assert "'fare' is the target" in fails(capsys, "train", titanic, "--target", "fare", "--features", "fare")
    assert "--target and --features" in fails(capsys, "train", "--target", "fare")
    assert "No such file" in fails(capsys, "train", "absent.csv", "--target", "fare")
    assert "No such file" in fails(capsys, "predict", "absent.safetensors", titanic)
    for option in ("--save", "--plot"):
        assert "absent/file: there is no such folder" in fails(capsys, "train", option, "absent/file")
    assert "--plot: loss.nope: Format 'nope'" in fails(capsys, "train", "--plot", "loss.nope")
    assert "--test" in fails(capsys, "train", "--test", "1")
    assert "--starts" in fails(capsys, "train", "--starts", "0")
    assert "epochs" in fails(capsys, "train", "--epochs", "0")
    (folder / "junk").write_bytes(b"junk")
    assert "not a fastmlp file" in fails(capsys, "predict", "junk", titanic)
    (folder / "one.csv").write_text("fare\n1\n")
    assert "no column besides the target" in fails(capsys, "train", "one.csv", "--target", "fare")
    assert not (folder / "model.safetensors").exists()


def test_32_outputs_do_not_replace_inputs(folder, capsys):
    path = complete_titanic(folder)
    content = path.read_bytes()
    assert "is the data file" in fails(capsys, "train", path, "--target", "fare", "--save", path)
    assert main(["train", *QUICK]) == 0
    model = (folder / "model.safetensors").read_bytes()
    assert "is an input" in fails(capsys, "predict", "model.safetensors", path, "--output", path)
    assert "is an input" in fails(
        capsys, "predict", "model.safetensors", path, "--output", "model.safetensors"
    )
    assert path.read_bytes() == content
    assert (folder / "model.safetensors").read_bytes() == model


def run(*arguments, **settings):
    command = [sys.executable, "-m", "fastmlp", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **settings)


def test_32_full_disk_and_closed_pipe():
    with open("/dev/full", "w") as full:
        command = run("info", stdout=full)
        _, error = command.communicate(timeout=60)
    assert command.returncode == 2
    assert error.startswith("fastmlp: error: ")
    assert len(error.splitlines()) == 1
    reading, writing = os.pipe()
    os.close(reading)
    command = run("info", stdout=writing)
    _, error = command.communicate(timeout=60)
    os.close(writing)
    assert command.returncode == 1
    assert not error


def test_terminal_without_arrows():
    command = run("train", *QUICK, stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    printed, _ = command.communicate(timeout=60)
    assert command.returncode == 0
    assert "3 ? 4 ? 1" in printed


def test_20_interrupt_saves_nothing(folder):
    command = run("train", "--epochs", "100000000", stdout=subprocess.PIPE)
    command.stdout.readline()
    time.sleep(0.5)
    command.send_signal(signal.SIGINT)
    _, error = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "interrupted; nothing was saved" in error
    assert "Traceback" not in error
    assert not list(folder.iterdir())


def test_time_of_the_reference_is_scaled_to_all_rows(monkeypatch):
    """With a clock that ticks once a look, three rows take a second, so a thousand take 333."""
    ticks = iter(range(100))
    monkeypatch.setattr(cli.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(cli, "REFERENCE_ROWS", 3)
    arguments = cli._parser().parse_args(["train", "--dtype", "float32"])
    X = np.random.default_rng(0).normal(size=(999, 3))
    assert cli._reference_epoch_seconds(arguments, fastmlp.Adam(), X, X[:, 0], fastmlp.MLP((3, 4, 1))) == 333


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5, "2.5 s"),
        (0.99999, "1 s"),
        (9.996e-4, "1 ms"),
        (4.25e-5, "42.5 µs"),
        (3e-8, "30 ns"),
        (0, "0 ns"),
    ],
)
def test_readable_times(seconds, text):
    assert readable(seconds) == text


def test_info(capsys):
    assert main(["info"]) == 0
    assert fastmlp.kernels.ISA in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert fastmlp.__version__ in capsys.readouterr().out


CHECKPOINTED = ["--epochs", "300", "--starts", "2", "--checkpoint", "run", "--checkpoint-every", "10"]


def model(capsys, *arguments):
    """The tensors of the network that a training with these arguments saves."""
    assert main(["train", *arguments]) == 0
    capsys.readouterr()
    return fastmlp.MLP.load("model.safetensors").parameters.tolist()


@pytest.mark.parametrize(("checkpoints", "fits"), [(1, 1), (40, 2), (95, 4)])
def test_killed_and_resumed_is_the_uninterrupted_training(folder, capsys, checkpoints, fits):
    command = [
        sys.executable,
        programs.SCRIPTS / "train_and_die.py",
        str(checkpoints),
        "train",
        *CHECKPOINTED,
    ]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(folder.glob("run/[!.]*"))) == fits
    assert not os.path.exists("model.safetensors")
    resumed = model(capsys, *CHECKPOINTED, "--resume")
    assert resumed == model(capsys, *CHECKPOINTED[:4])
    assert sorted(path.name for path in folder.glob("run/[!.]*")) == [
        f"{part}-0-{start}.safetensors" for part in ("all", "train") for start in (0, 1)
    ]
    assert model(capsys, *CHECKPOINTED, "--resume") == resumed  # of what is done nothing is done again


def test_interrupted_training_says_how_to_go_on(folder, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(cli, "_errors", lambda *_: signal.raise_signal(signal.SIGINT))
        assert main(["train", *CHECKPOINTED]) == 130
    assert "interrupted; continue with --resume" in capsys.readouterr().err
    assert model(capsys, *CHECKPOINTED, "--resume") == model(capsys, *CHECKPOINTED[:4])


def test_resuming_something_else_is_an_error(folder, capsys):
    assert "name the folder" in fails(capsys, "train", "--resume")
    model(capsys, *CHECKPOINTED)
    assert "not empty" in fails(capsys, "train", *CHECKPOINTED)
    for option, value, setting in [
        ("--hidden", 5, "sizes"),
        ("--dtype", "float64", "dtype"),
        ("--optimizer", "sgd", "optimizer"),
        ("--learning-rate", 0.02, "optimizer"),
        ("--batch-size", 16, "batch_size"),
        ("--l2", 0.1, "l2"),
        ("--epochs", 200, "--epochs"),
        ("--test", 0.3, "X"),
    ]:
        assert f"error: {setting}: " in fails(capsys, "train", *CHECKPOINTED, "--resume", option, value)
    (folder / "run/train-0-0.safetensors").write_bytes(b"junk")
    assert "train-0-0.safetensors: not a fastmlp checkpoint" in fails(
        capsys, "train", *CHECKPOINTED, "--resume"
    )


@pytest.mark.parametrize("resumed", [False, True])
def test_the_bar_counts_every_epoch(monkeypatch, capsys, resumed):
    """Also those that a checkpoint has."""
    arguments = ["train", *CHECKPOINTED]
    if resumed:
        assert main(arguments) == 0
        arguments.append("--resume")
    updates, totals = [], []

    def progress(total):
        totals.append(total)
        return nullcontext(argparse.Namespace(update=updates.append))

    monkeypatch.setattr(cli, "_progress", progress)
    assert main(arguments) == 0
    assert totals == [sum(updates)] == [4 * 300]
    assert resumed or updates.count(1) == 4 * 300
    capsys.readouterr()


def test_the_best_start_is_taken(capsys):
    X, y = fastmlp.load_titanic()
    losses = []
    for start in range(4):
        net = fastmlp.MLP((3, 4, 1), seed=[0, start])
        fastmlp.Trainer(net, learning_rate=0.01, seed=[0, start], standardize=True).fit(X, y, 3)
        losses.append(net.loss(X, y))
    for starts in (1, 4):
        assert main(["train", "--epochs", "3", "--starts", str(starts), "--test", "0"]) == 0
        assert fastmlp.MLP.load("model.safetensors").loss(X, y) == min(losses[:starts])
    assert min(losses) < losses[0]
    capsys.readouterr()


def rows_with_numbers(path, start=0, header=",size,price", n=50):
    rng = np.random.default_rng(0)
    size = rng.uniform(1, 5, n)
    rows = [f"{start + i},{a:.3f},{10 * a:.3f}" for i, a in enumerate(size)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "said"),
    [(",size,price", "1 column without a name"), ("id,size,price", "'id', which counts the rows")],
)
def test_47_row_numbers_are_no_feature(folder, capsys, header, said):
    data = rows_with_numbers(folder / "t.csv", 1, header)
    assert main(["train", str(data), "--target", "price", *QUICK]) == 0
    assert f"left out  {said}; --features" in capsys.readouterr().out
    assert fastmlp.MLP.load("model.safetensors").feature_names == ("size",)
    assert main(["predict", "model.safetensors", str(data), "--output", "p.csv"]) == 0


def test_47_a_named_column_is_taken_all_the_same(folder, capsys):
    data = rows_with_numbers(folder / "t.csv", 1, "id,size,price")
    assert main(["train", str(data), "--target", "price", "--features", "id,size", *QUICK]) == 0
    assert "left out" not in capsys.readouterr().out
    assert fastmlp.MLP.load("model.safetensors").feature_names == ("id", "size")
    assert "but row numbers" in fails(capsys, "train", numbers_only(folder), "--target", "y", *QUICK)


def numbers_only(folder):
    path = folder / "numbers.csv"
    path.write_text("id,y\n" + "".join(f"{i},{i * i}\n" for i in range(9)))
    return path


def test_47_a_model_without_names_predicts_without_row_numbers(folder):
    fastmlp.MLP((2, 3, 1)).save("net")
    data = rows_with_numbers(folder / "t.csv")
    assert main(["predict", "net", str(data), "--output", "p.csv"]) == 0
    data = rows_with_numbers(folder / "u.csv", 1, "id,size,price")
    assert main(["predict", "net", str(data), "--output", "q.csv"]) == 0
    assert (folder / "p.csv").read_text() == (folder / "q.csv").read_text()


def test_48_a_file_without_a_header_is_told_so(folder, capsys):
    (folder / "t.csv").write_text("29,1,211.5\n2,3,7.25\n")
    assert "must name the columns, and holds numbers" in fails(capsys, "train", "t.csv", "--target", "price")


def test_40_the_command_line_takes_float64_where_it_matters(folder, capsys):
    rows = [f"{1.7e9 + i},{i}" for i in range(50)]
    (folder / "t.csv").write_text("time,y\n" + "\n".join(rows[::-1]) + "\n")
    assert main(["train", "t.csv", "--target", "y", *QUICK]) == 0
    assert ", float64, " in capsys.readouterr().out
    assert main(["train", "t.csv", "--target", "y", "--dtype", "float32", *QUICK]) == 0
    assert main(["train", *QUICK]) == 0
    assert ", float32, " in capsys.readouterr().out


def test_49_a_model_that_cannot_be_saved_in_its_place_is_saved_elsewhere(folder, capsys, monkeypatch):
    save = fastmlp.MLP.save

    def full(net, path):
        if "place" in str(path):
            raise OSError(28, "No space left on device", str(path))
        save(net, path)

    monkeypatch.setattr(fastmlp.MLP, "save", full)
    said = fails(capsys, "train", "--save", "place", *QUICK)
    assert "No space left on device" in said
    saved = re.search(r"the model is in (\S+) instead", said)[1]
    assert fastmlp.MLP.load(saved).feature_names == ("age", "class", "survived")


@pytest.mark.parametrize(
    "command", [["train", "--save"], ["train", "--plot"], ["predict", "net", "t.csv", "--output"]]
)
def test_49_a_place_that_cannot_be_written_is_found_out_first(folder, capsys, monkeypatch, command):
    fastmlp.MLP((2, 3, 1)).save("net")
    rows_with_numbers(folder / "t.csv")
    opened = os.open

    def refuse(path, flags, *more, **named):
        if "readonly" in str(path) and flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *more, **named)

    (folder / "readonly").mkdir()
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(fastmlp.Trainer, "fit", lambda *_: pytest.fail("trained before"))
    monkeypatch.setattr(fastmlp.MLP, "predict", lambda *_: pytest.fail("predicted before"))
    said = fails(capsys, *command, "readonly/file")
    assert (
        f"{command[-1]}: {folder}/readonly/file: no file can be made in its folder (Permission denied)"
        in said
    )
    assert "is a folder" in fails(capsys, *command, "readonly")


def test_what_cannot_be_trained_on_is_said_before_training(folder, capsys):
    """With the row of the file, and before a network of that many outputs is made."""
    rows = [f"{i},{(-5 if i == 77 else i % 7)}" for i in range(100)]
    Path("counts.csv").write_text("a,y\n" + "\n".join(rows) + "\n")
    error = fails(capsys, "train", "counts.csv", "--target", "y", "--features", "a", "--objective", "poisson")
    assert "counts.csv, column 'y'" in error
    assert "row 77 is -5" in error
    assert "'a' more than once" in fails(capsys, "train", "counts.csv", "--target", "y", "--features", "a,a")
    Path("large.csv").write_text("a,y\n" + "\n".join(f"{i % 3},{10**9 + i}" for i in range(50)) + "\n")
    log_loss = ["train", "large.csv", "--target", "y", "--features", "a", "--objective", "log_loss"]
    assert "log_loss needs the numbers of classes" in fails(capsys, *log_loss)
    single = ["large.csv", "--target", "y", "--features", "a", "--dtype", "float32", "--epochs", "50"]
    assert main(["train", *single]) == 0
    assert "warning: the network" in capsys.readouterr().err
