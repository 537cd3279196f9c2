"""The command line: train, predict, info."""

import argparse
import csv
import io
import os
import re
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext, suppress
from dataclasses import asdict
from functools import partial

import numpy as np

from fastmlp import activations, kernels, objectives, optimizers, reference, scaling, tables
from fastmlp._config import __version__, show_config
from fastmlp._extras import progress_bar
from fastmlp.datasets import TITANIC, load_titanic
from fastmlp.io.files import check_place, write_whole
from fastmlp.network import INITIALIZERS, MLP
from fastmlp.optimizers import OPTIMIZERS, SGD
from fastmlp.training.state import History
from fastmlp.training.trainer import Trainer

REFERENCE_ROWS = 4096  # at most, when the NumPy reference is timed; its time is scaled from there


def main(argv=None):
    """Run the command line; return the exit status (0; 2 for an error, told in one line)."""
    if sys.stdout is None:  # closed by who called
        print("fastmlp: error: standard output is closed", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(errors="replace")  # a terminal without "→" gets "?"
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
        return 1
    except KeyboardInterrupt:
        saved = "continue with --resume" if getattr(arguments, "checkpoint", None) else "nothing was saved"
        print(f"fastmlp: interrupted; {saved}", file=sys.stderr)
        return 130
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        print(f"fastmlp: error: {error}", file=sys.stderr)
        _drop_stdout()
        return 2
    return 0


def _drop_stdout():
    """Flush, and if nobody takes it (a closed pipe, a full disk) lose it: Python would fail at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser():
    parser = argparse.ArgumentParser(
        prog="fastmlp",
        description="Small neural networks on the CPU.",
    )
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a network on a CSV file, or on the Titanic data",
        description="Train a network to predict one column of a CSV file from the others; without a file, "
        "the ticket prices of the Titanic.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument(
        "data", nargs="?", help="a CSV file of numbers with a header line (default: the Titanic)"
    )
    train.add_argument("--target", metavar="COLUMN", help="the column to predict")
    train.add_argument(
        "--features", metavar="A,B,..", help="the columns to predict it from (default: all others)"
    )
    train.add_argument(
        "--hidden", default="4", metavar="N,N,..", help="hidden units of each layer; none: a linear model"
    )
    train.add_argument(
        "--activation",
        default="relu",
        metavar="NAME",
        help=f"of the hidden layers, or one for each, NAME,NAME,..: {', '.join(activations.ACTIVATIONS)}",
    )
    train.add_argument(
        "--objective",
        default="squared_error",
        metavar="NAME",
        help="what is minimised, with a parameter after a colon (quantile:0.1,0.9 or huber:2): "
        f"{', '.join(objectives.OBJECTIVES)}",
    )
    train.add_argument("--epochs", type=int, default=400, metavar="N", help="passes over the rows")
    train.add_argument(
        "--starts", type=int, default=5, metavar="N", help="random starts, of which the best stays"
    )
    train.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adam", help="how the weights move")
    train.add_argument("--learning-rate", type=float, default=0.01, metavar="X", help="how far they move")
    train.add_argument("--batch-size", type=int, default=32, metavar="N", help="rows in a step")
    train.add_argument("--l2", type=float, default=0.0, metavar="X", help="penalty on squared weights")
    train.add_argument("--init", choices=sorted(INITIALIZERS), help="starting weights")
    train.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="of all arithmetic (default: float32; float64 where large numbers differ little)",
    )
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of split, starts and shuffling")
    train.add_argument(
        "--test", type=float, default=0.2, metavar="X", help="part of the rows held out; 0: none"
    )
    train.add_argument("--save", default="model.safetensors", metavar="FILE", help="where the model goes")
    train.add_argument("--plot", metavar="FILE", help="draw the loss curve (extra: plot)")
    train.add_argument(
        "--checkpoint",
        metavar="FOLDER",
        help="write checkpoints of all fits there, for --resume",
    )
    train.add_argument(
        "--checkpoint-every", type=int, default=100, metavar="N", help="epochs from one to the next"
    )
    train.add_argument(
        "--resume", action="store_true", help="continue from the checkpoints, with the same data and settings"
    )
    train.set_defaults(run=_train)

    predict = commands.add_parser("predict", help="predict with a saved model, for the rows of a CSV file")
    predict.add_argument("model", help="a model that `fastmlp train` saved")
    predict.add_argument("data", help="a CSV file that has the model's columns")
    predict.add_argument("--output", metavar="FILE", help="write here (default: stdout)")
    predict.set_defaults(run=_predict)

    info = commands.add_parser("info", help="show the version, what the CPU can run and the kernels in use")
    info.set_defaults(run=lambda arguments: show_config())
    return parser


def _train(arguments):
    title, X, y, names, target = _training_data(arguments)
    if not 0 <= arguments.test < 1:
        raise ValueError(f"--test: must be in [0, 1), got {arguments.test}")
    if arguments.starts < 1:
        raise ValueError(f"--starts: must be at least 1, got {arguments.starts}")
    taken = {os.path.realpath(arguments.data): "the data file"} if arguments.data else {}
    for option, path in (("--save", arguments.save), ("--plot", arguments.plot)):
        place = path and os.path.realpath(path)
        if place in taken:
            raise ValueError(f"{option}: {path} is {taken[place]}; choose another name")
        taken[place] = "the model's file"
    for option, path in (("--save", arguments.save), ("--plot", arguments.plot)):
        if path:
            _check_place(option, path)  # now, not after the training
    if arguments.plot:
        _picture_of(History([1.0], best_epoch=0), arguments.plot)  # whether it can be drawn, now
    _prepare_checkpoints(arguments)

    objective, outputs = _objective(arguments, y, target)
    sizes = (X.shape[1], *_hidden(arguments), outputs)
    activation = tuple(arguments.activation.split(","))
    activation = activation[0] if len(activation) == 1 else activation
    describe = partial(MLP, sizes, activation=activation, objective=objective)
    describe()  # whether all fits, now
    if arguments.dtype is None:
        measured = scaling.fit_scaling(X, y[:, None], None, objective, outputs)
        ratio, _, _ = scaling.least_resolved(measured, np.float32)
        arguments.dtype = "float32" if ratio <= scaling.SAFE_RATIO else "float64"
    n = len(X)
    order = np.random.default_rng(arguments.seed).permutation(n)
    held_out = min(round(arguments.test * n), n - 1)  # a row to train on
    test, train = order[:held_out], order[held_out:]
    print(f"data      {title}: {n} rows, {', '.join(names)} → {target}")
    kind = arguments.activation if len(sizes) > 2 else "linear"
    print(
        f"network   {' → '.join(map(str, sizes))}, {kind}, {arguments.objective}; "
        f"{kernels.n_parameters(sizes)} weights, {arguments.dtype}, {kernels.ISA} kernels"
    )
    print(
        f"training  {arguments.optimizer}, learning rate {arguments.learning_rate}, batches of "
        f"{arguments.batch_size}, {arguments.epochs} epochs, best of {arguments.starts} starts, standardised"
    )
    fits = arguments.starts * (2 if held_out else 1)
    with _progress(fits * arguments.epochs) as bar:
        fit = partial(_best_of_starts, arguments, partial(describe, dtype=arguments.dtype), bar)
        parts = {}
        if held_out:
            net, curve = fit("train", X[train], y[train], (X[test], y[test]))
            parts[f"train ({len(train)} rows)"] = _errors(net, X[train], y[train], X[train], y[train])
            parts[f"test ({len(test)} rows)"] = _errors(net, X[train], y[train], X[test], y[test])
        net, history = fit("all", X, y)
        parts[f"all ({n} rows)"] = _errors(net, X, y, X, y)
    _print_errors(parts, "£" if arguments.data is None else target)
    if held_out:
        print("The saved model is trained on all rows; the test column is from one that never saw these.")

    seconds = statistics.median(history.seconds)
    optimizer = optimizers.resolve(arguments.optimizer, arguments.learning_rate)
    numpy_seconds = _reference_epoch_seconds(arguments, optimizer, X, y, net)
    print(
        f"An epoch takes {readable(seconds)}; the NumPy reference takes {readable(numpy_seconds)}, "
        f"{numpy_seconds / seconds:.0f} times as long."
    )
    net.feature_names, net.target_names = tuple(names), (target,)
    _save(net, arguments.save)
    print(f"saved     {arguments.save}; to use it: fastmlp predict {arguments.save} data.csv")
    if arguments.plot:
        write_whole(arguments.plot, _picture_of(curve if held_out else history, arguments.plot))
        print(f"drawn     {arguments.plot}")


def _training_data(arguments):
    """(title, X, y, feature names, target name) of the file, or of the Titanic."""
    if arguments.data is None:
        if arguments.target or arguments.features:
            raise ValueError(
                "--target and --features belong to a data file: fastmlp train data.csv --target COLUMN"
            )
        X, y = load_titanic()
        with TITANIC.open(encoding="ascii") as file:
            *names, target = file.readline().strip().split(",")
        return "Titanic passengers of whom all four values are known", X, y, names, target
    if not arguments.target:
        raise ValueError(f"--target: name the column of {arguments.data} that is to be predicted")

    def columns(header):
        nonlocal unnamed
        unnamed = header.count("")
        features = [name for name in header if name and name != arguments.target]
        if arguments.features:
            features = [name.strip() for name in arguments.features.split(",")]
            twice = {name for name in features if features.count(name) > 1}
            if twice:
                raise tables.TableError(f"--features: {', '.join(map(repr, sorted(twice)))} more than once")
        if arguments.target in features:
            raise tables.TableError(f"--features: {arguments.target!r} is the target")
        _require_columns(arguments.data, header, [*features, arguments.target])
        if not features:
            raise tables.TableError(
                f"{arguments.data}, line 1: no column besides the target {arguments.target!r}"
            )
        return [*features, arguments.target]

    unnamed = 0
    names, table = tables.read_csv(arguments.data, columns)
    X, y, names = table[:, :-1], table[:, -1], names[:-1]
    if not arguments.features:
        counters = [j for j in range(X.shape[1]) if tables.counts_rows(X[:, j])]
        _say_left_out(unnamed, [names[j] for j in counters])
        X = np.delete(X, counters, axis=1)
        names = [name for j, name in enumerate(names) if j not in counters]
        if not names:
            raise tables.TableError(
                f"{arguments.data}: no column besides the target {arguments.target!r} but row numbers; name "
                "one by --features if it is meant"
            )
    return arguments.data, np.ascontiguousarray(X), y, names, arguments.target


def _say_left_out(unnamed, counters):
    """Print which columns are no features: they only count rows, and would be learnt by heart."""
    parts = [f"{unnamed} column{'s' * (unnamed > 1)} without a name"] * bool(unnamed)
    parts += [f"{name!r}, which counts the rows" for name in counters]
    if parts:
        print(f"left out  {'; '.join(parts)}; --features takes columns by their names")


def _check_place(option, path):
    try:
        check_place(path)
    except OSError as error:
        raise ValueError(f"{option}: {error.filename}: {error.strerror}") from None


def _save(net, path):
    """Save a trained network: if it cannot be at its place (a disk that is full by now), then at another."""
    try:
        net.save(path)
        return
    except OSError as error:
        reason = error
    for folder in (os.curdir, tempfile.gettempdir()):
        elsewhere = os.path.join(folder, f"fastmlp-{os.getpid()}-{time.time_ns()}.safetensors")
        with suppress(OSError):
            net.save(elsewhere)
            raise ValueError(f"--save: {reason}; the model is in {elsewhere} instead")
    raise reason


def _require_columns(path, header, names):
    for name in names:
        if name not in header:
            numbers = all(re.fullmatch(r"[-+.\deE]+", found) for found in header)
            hint = "; its first line must name the columns, and holds numbers" if numbers else ""
            raise tables.TableError(
                f"{path}, line 1: no column {name!r}; the file has {', '.join(filter(None, header))}{hint}"
            )


def _prepare_checkpoints(arguments):
    """Make the folder for checkpoints; one that holds some is only taken to continue from them."""
    if arguments.checkpoint is None:
        if arguments.resume:
            raise ValueError("--resume: name the folder of the checkpoints by --checkpoint FOLDER")
        return
    os.makedirs(arguments.checkpoint, exist_ok=True)
    if os.listdir(arguments.checkpoint) and not arguments.resume:
        raise ValueError(
            f"--checkpoint: {arguments.checkpoint} is not empty; continue with --resume, or choose another "
            "folder"
        )


def _best_of_starts(arguments, describe, bar, part, X, y, validation_data=None):
    """(network, history) of the start with the lowest error on X, y."""
    fits = []
    for start in range(arguments.starts):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer = _fitted(arguments, describe, bar, (part, start), X, y, validation_data)
        net, history = trainer.network, trainer.history
        if history.stop_reason == "interrupted":
            raise KeyboardInterrupt
        if history.stop_reason != "diverged":
            fits.append((net.loss(X, y), net, history, caught))
    if not fits:
        raise ValueError(f"--learning-rate: training diverged at {arguments.learning_rate}; try a lower one")
    _, net, history, caught = min(fits, key=lambda fit: fit[0])
    for warning in caught if part == "all" else ():  # what is saved
        print(f"fastmlp: warning: {warning.message}", file=sys.stderr)
    return net, history


def _fitted(arguments, describe, bar, which, X, y, validation_data):
    """The trainer of one start, trained; from its checkpoint on, where that is asked for and there."""
    part, start = which
    optimizer = optimizers.resolve(arguments.optimizer, arguments.learning_rate)
    settings = {"batch_size": arguments.batch_size, "l2": arguments.l2, "standardize": True}
    checkpoint, seen = None, 0
    if arguments.checkpoint:
        checkpoint = os.path.join(arguments.checkpoint, f"{part}-{arguments.seed}-{start}.safetensors")

    def show(epoch, history):
        nonlocal seen
        bar.update(epoch + 1 - seen)
        seen = epoch + 1

    if arguments.resume and os.path.exists(checkpoint):
        net = describe()
        expected = {"sizes": net.sizes, "activation": net.activations, "objective": net.objective}
        expected |= {"dtype": arguments.dtype, "optimizer": optimizer, **settings}
        trainer = Trainer.resume(checkpoint, X, y, validation_data=validation_data, callback=show, **expected)
        epochs = len(trainer.history.loss)
        if epochs != arguments.epochs and trainer.history.stop_reason == "epochs":
            raise ValueError(f"--epochs: {checkpoint} has {epochs}, not {arguments.epochs}")
    else:
        seed = [arguments.seed, start]
        net = describe(init=arguments.init, seed=seed)
        trainer = Trainer(net, optimizer, seed=seed, **settings)
        trainer.fit(
            X,
            y,
            arguments.epochs,
            validation_data=validation_data,
            callback=show,
            checkpoint=checkpoint,
            checkpoint_every=arguments.checkpoint_every,
        )
    bar.update(arguments.epochs - seen)
    return trainer


def _objective(arguments, y, target):
    """(objective, number of outputs) for a column of targets, which are checked."""
    objective, outputs = objectives.parse(arguments.objective), 1
    column = f"{arguments.data or 'the Titanic'}, column {target!r}"
    if isinstance(objective, objectives.Quantile):
        outputs = len(objective.levels)
    if isinstance(objective, objectives.LogLoss):
        outputs = max(2, int(y.max()) + 1)
        if outputs > len(y):
            raise ValueError(
                f"{column}: holds {y.max():g}, and log_loss needs the numbers of classes, 0, 1, 2, …"
            )
    objective.check_targets(f"{column} (rows without the header, from 0)", y[:, None], outputs)
    return objective, outputs


def _hidden(arguments):
    """The hidden units of each layer."""
    if arguments.hidden.strip() in ("", "none"):
        return ()
    try:
        return tuple(int(units) for units in arguments.hidden.split(","))
    except ValueError:
        raise ValueError(
            f"--hidden: must be whole numbers, e.g. 16 or 16,16, or none; got {arguments.hidden!r}"
        ) from None


def _errors(net, X, y, X_measured, y_measured):
    """{predictor: loss} for what is fitted to X, y; for squared error also the loss of simpler models."""
    if not isinstance(net.objective, objectives.SquaredError):
        return {"network": net.loss(X_measured, y_measured)}
    ones = np.ones((len(X), 1))
    line, *_ = np.linalg.lstsq(np.hstack([X, ones]), y, rcond=None)
    predictions = {
        "constant": np.full(len(y_measured), y.mean()),
        "least squares": X_measured @ line[:-1] + line[-1],
        "network": net.predict(X_measured),
    }
    return {name: float(np.mean((values - y_measured) ** 2)) for name, values in predictions.items()}


def _print_errors(parts, unit):
    print()
    if list(next(iter(parts.values()))) == ["network"]:
        for part, errors in parts.items():
            print(f"loss, {part}: {errors['network']:.6g}")
        print()
        return
    print(f"{'':15}" + "".join(f"{part:>25}" for part in parts))
    print(f"{'':15}" + "".join(f"{'MSE':>12}{'RMSE ' + unit[:7]:>13}" for _ in parts))
    for predictor in next(iter(parts.values())):
        cells = (f"{errors[predictor]:12.5g}{errors[predictor] ** 0.5:13.4g}" for errors in parts.values())
        print(f"{predictor:15}" + "".join(cells))
    print()


def _reference_epoch_seconds(arguments, optimizer, X, y, net):
    """How long an epoch of the same training takes in NumPy: the median of three."""
    rows = min(len(X), REFERENCE_ROWS)
    net = MLP(net.sizes, activation=net.activations, objective=net.objective, dtype=net.dtype)
    measured = scaling.fit_scaling(X, y[:, None], None, net.objective, net.sizes[-1])
    scaled = scaling.transform(X[:rows], y[:rows, None], measured)
    X_scaled, Y_scaled = (values.astype(net.dtype) for values in scaled)
    step = reference.sgd_step if isinstance(optimizer, SGD) else reference.adam_step
    step = partial(step, **asdict(optimizer))
    moments = np.zeros((2, net.parameters.size), net.dtype)
    seconds, rng = [], np.random.default_rng()
    for _ in range(3):
        started = time.perf_counter()
        order = rng.permutation(rows)
        batches = [order[i : i + arguments.batch_size] for i in range(0, rows, arguments.batch_size)]
        reference.train_epoch(
            *(X_scaled, Y_scaled, net.weights, moments, 0, step, batches),
            activation=net.activations,
            objective=net.objective,
            l2=arguments.l2,
        )
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * len(X) / rows


def _progress(total):
    silent = nullcontext(argparse.Namespace(update=lambda epochs: None))
    sys.stdout.flush()  # tqdm does, and if that fails older ones leave a traceback
    try:
        return silent if sys.stderr is None else progress_bar(total, leave=False, mininterval=0.2)
    except ImportError:
        print("progress  not shown: pip install 'fastmlp[progress]'", file=sys.stderr)
        return silent


def readable(seconds):
    """Return a time with three digits and its unit, e.g. "42.5 µs"."""
    units = {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
    unit = next(
        (unit for unit, size in units.items() if seconds >= 0.9995 * size), "ns"
    )  # 1 ms, not 1e+03 µs
    return f"{seconds / units[unit]:.3g} {unit}"


def _picture_of(history, path):
    """The file that shows the loss curve(s) of one fit; the ending of its name says in which format."""
    drawn = io.BytesIO()
    figure = history.plot().figure
    try:
        figure.savefig(drawn, format=os.path.splitext(path)[1][1:] or "png", dpi=150)
    except ValueError as error:  # Matplotlib's, with the formats it knows
        raise ValueError(f"--plot: {path}: {error}") from None
    return drawn.getvalue()


def _columns_of(net):
    """The names of the columns that a network predicts."""
    outputs, names = net.sizes[-1], net.target_names
    if names is not None and len(names) == outputs:
        return names
    name = "prediction" if names is None else names[0]
    if isinstance(net.objective, objectives.Quantile):
        return [f"{name} {level:g}" for level in net.objective.levels]
    if isinstance(net.objective, objectives.LogLoss):
        return [f"{name} = {number}" for number in range(outputs)]
    return [f"prediction {i + 1}" for i in range(outputs)]


def _predict(arguments):
    if arguments.output is not None:
        for read in (arguments.model, arguments.data):
            if os.path.realpath(read) == os.path.realpath(arguments.output):
                raise ValueError(f"--output: {arguments.output} is an input; choose another name")
        _check_place("--output", arguments.output)
    net = MLP.load(arguments.model)
    features = net.sizes[0]

    def columns(header):
        if net.feature_names is not None:
            _require_columns(arguments.data, header, net.feature_names)
            return list(net.feature_names)
        return [name for name in header if name]

    names, X = tables.read_csv(arguments.data, columns)
    if net.feature_names is None and X.shape[1] != features:
        X = X[:, [not tables.counts_rows(column) for column in X.T]]
    if X.shape[1] != features:
        raise tables.TableError(
            f"{arguments.data}, line 1: {len(names)} columns, and the model takes {features} (it does not "
            "know their names)"
        )
    targets = _columns_of(net)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(targets)
    np.savetxt(text, net.predict(X), delimiter=",", fmt="%.9g" if net.dtype == np.float32 else "%.17g")
    if arguments.output is None:
        sys.stdout.write(text.getvalue())
        return
    write_whole(arguments.output, text.getvalue().encode())
