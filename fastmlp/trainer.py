"""Trainer: fits a network. Epochs, validation, stopping; the loop itself is compiled."""

from __future__ import annotations

import math
import os
import time
import warnings
import weakref
import zlib
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import _checks, _extras, kernels, optimizers, penalties, scaling, schedules
from fastmlp.io import files
from fastmlp.network import MLP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, DTypeLike

    from fastmlp.network import Path

    _Validation = tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike]
    _Monitor = Callable[[np.ndarray, np.ndarray], float]

EPOCHS_AT_ONCE = 1024  # at most, between two looks at the clock
SUMMED_UP = 2**16  # bytes, above which a check sum is that of sums
ROWS_COMPARED = 4096  # at most, when the folded network is compared with the standardised one

# of the arrays of the training and the validation data, as messages have them
NAMES = (
    ("X", "y", "sample_weight"),
    ("validation_data[0]", "validation_data[1]", "validation_data[2]"),
)

# The fits under way, as (process, network): a child that is forked meanwhile has none. dict.setdefault is one
# step for all threads, also without the GIL.
_under_way: dict[tuple[int, int], object] = {}


@dataclass
class History:
    """What happened in one call of `Trainer.fit`.

    Attributes
    ----------
    loss : list of float
        For each epoch the loss of the training rows, as they were seen: each batch before its step. In the
        units of the raw targets, without the L2 penalty.
    validation_loss : list of float
        The same for the validation data, after each epoch; empty if there are none.
    seconds : list of float
        Wall time of each epoch. Epochs too short to time one by one share the time of their group.
    monitor : list of float
        What the monitor returned after each epoch; empty without one.
    best_epoch : int or None
        The epoch of the lowest value of the monitor (without one: validation loss; without validation
        data: loss); None if no epoch was finished.
    stop_reason : {"epochs", "patience", "callback", "interrupted", "diverged"} or None
        None while the fit goes on.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    monitor: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stop_reason: str | None = None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses, as `fastmlp.plot.losses` does (extra ``plot``); return the axes.

        Examples
        --------
        >>> History(loss=[3.0, 2.0, 1.5], best_epoch=2).plot().get_ylabel()
        'loss'
        """
        from fastmlp import plot  # here, as matplotlib is an extra

        return plot.losses(self, ax)


@dataclass
class _Run:
    """A call of `fit` that is not over, at the end of an epoch: what another one needs to go on with it."""

    epochs: int
    patience: int | None
    min_delta: float
    checkpoint_every: int | None
    monitored: bool = False  # by a callable, not by the loss
    parameters: np.ndarray | None = None  # (size,) as they are trained: with `standardize` not the network's
    best: np.ndarray | None = None  # (size,) those of the lowest loss
    epoch: int = 0  # epochs done
    best_epoch: int = -1
    best_loss: float = np.inf  # or value of the monitor
    improved_epoch: int = -1  # the last with an improvement of more than min_delta,
    improved_loss: float = np.inf  # and its loss: patience counts from there
    limit: float = 0.0  # of the loss, before it counts as diverged; 0: not known yet
    losses: np.ndarray | None = None  # (2, at once) of the epochs that are trained since `started`
    started: float = 0.0
    values: list[float] = field(default_factory=list)  # of the monitor, for those epochs
    loop: Any = None  # the compiled one
    published: bool = False  # whether the network has what is being trained; before, nobody can change that
    changed: bool = False  # parameters or optimizer have been, by a callback: the loop must begin anew


def _setting(name, check, doc):
    """A property of Trainer that is checked by ``check(trainer, value)`` whenever it is set."""
    kept = f"_{name}"

    def change(trainer, value):
        setattr(trainer, kept, check(trainer, value))

    return property(lambda trainer: getattr(trainer, kept), change, doc=doc)


class Trainer:
    """Trains a network by gradient descent on its objective.

    Parameters
    ----------
    network : MLP
        Changed by `fit`.
    optimizer : {"adam", "adamw", "sgd"}, or SGD, Adam or AdamW
    learning_rate : float > 0, optional
        In place of the optimizer's own.
    batch_size : int or None
        Rows in a batch; the last of an epoch may be smaller. None: all rows.
    schedule : {"constant", "cosine", "inverse", "coslog"}, or an object of `fastmlp.schedules`
        Of the learning rate: a factor for each step of a call of `fit`. "cosine" falls from 1 to 0, "inverse"
        is 1 / sqrt(1 + epoch), "coslog" four cosines of doubling periods; ``Warmup(0.1, "cosine")`` rises
        first.
    l2 : float >= 0, or fastmlp.penalties.L2
        Adds l2/2 times the sum of the squared weights (not biases) to the loss that is minimised.
    clip_norm : float > 0, optional
        A gradient (of the penalty, too) whose Euclidean norm over all parameters is larger is shortened to
        this norm before the step, as by ``torch.nn.utils.clip_grad_norm_``. With `standardize` it is the
        gradient of the standardised problem.
    shuffle : bool
        Draw a new order of the rows for each epoch: `fastmlp.reference.permutation`, with
        ``numpy.random.default_rng(seed)``. With one batch an epoch there is nothing to draw.
    seed : int, sequence of int, numpy.random.Generator or None
        Of the shuffling. The same seed on the same machine gives the same bits.
    n_threads : int, optional
        As in `MLP.predict`.
    standardize : bool
        Train on standardised features and targets (weighted mean 0, standard deviation 1), and fold
        the scaling into the weights when `fit` ends: the network takes raw inputs and gives raw
        outputs. Targets are scaled where the objective allows it (squared_error, absolute_error, huber,
        quantile); for poisson and gamma the last biases of a new network start at the logarithm of the
        targets' mean. The weights of a new network are taken as those of the standardised problem; those
        of one that was trained or loaded, as the raw problem's. The scaling is measured in the
        first `fit`, on the data as they are given, and kept for the next ones; the first-layer weights of a
        feature that is constant there, over the rows of positive weight, are set to 0.

    Attributes
    ----------
    network : MLP
        Read-only.
    history : History or None
        Of the last call of `fit`, or of the one under way; `resume` goes on with it. Read-only.
    standardize : bool
        Read-only.
    optimizer, schedule, batch_size, l2, clip_norm, shuffle, n_threads
        As above. What is set is checked as there, and counts from the next fit on; set in a callback, from
        the next epoch on. An optimizer of another kind (SGD after Adam) begins without memory of the
        gradients so far.

    Raises
    ------
    TypeError, ValueError
        An argument is none of the above; the message names it.

    Examples
    --------
    >>> import fastmlp
    >>> X, y = fastmlp.load_titanic()
    >>> net = fastmlp.MLP((3, 4, 1), seed=1)
    >>> trainer = fastmlp.Trainer(net, learning_rate=0.01, seed=1, standardize=True)
    >>> history = trainer.fit(X, y, epochs=50)
    >>> history.stop_reason, len(history.loss), history.loss[-1] < 2100
    ('epochs', 50, True)
    """

    def __init__(
        self,
        network: MLP,
        optimizer: str | optimizers.Optimizer = "adam",
        learning_rate: float | None = None,
        *,
        batch_size: int | None = 32,
        schedule: str | schedules.Schedule = "constant",
        l2: float | penalties.L2 = 0.0,
        clip_norm: float | None = None,
        shuffle: bool = True,
        seed: int | Sequence[int] | np.random.Generator | None = None,
        n_threads: int | None = None,
        standardize: bool = False,
    ) -> None:
        if not isinstance(network, MLP):
            raise TypeError(f"network: must be an MLP, got {type(network).__name__}")
        self._network = network
        self._run: _Run | None = None  # the fit under way
        self._optimizer = optimizers.resolve(optimizer, learning_rate, network.dtype)
        self.batch_size = batch_size
        self.schedule = schedule
        self.l2 = l2
        self.clip_norm = clip_norm
        self.shuffle = shuffle
        self.n_threads = n_threads
        self._standardize = bool(standardize)
        self._bit_generator = np.random.default_rng(seed).bit_generator
        # one that was made here is nobody else's, and needs no lock
        self._shares_random = hasattr(seed, "bit_generator") or hasattr(seed, "lock")
        self._history: History | None = None
        self._data_seen: list | None = None  # by the last fit: a Fingerprint for each array
        self._scaling = None
        self._left = None  # (raw, standardised) parameters at the end of the last fit
        self._names_found = (None, None)  # of the columns of the last fit's X and y, where they were frames
        self._forget()

    def _forget(self):
        """Have the optimizer begin afresh."""
        self._moments = np.zeros((2, self.network.parameters.size), dtype=self.network.dtype)
        self._steps = 0

    @property
    def network(self) -> MLP:
        """The network that is trained."""
        return self._network

    @property
    def history(self) -> History | None:
        """What happened in the last call of `fit`, or in the one under way."""
        return self._history

    @property
    def scaling(self) -> scaling.Scaling | None:
        """With `standardize`, what the first fit measured (`fastmlp.scaling.Scaling`); None before."""
        return self._scaling

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """How the weights move: SGD, Adam or AdamW."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: str | optimizers.Optimizer) -> None:
        before, self._optimizer = self._optimizer, optimizers.resolve(optimizer, dtype=self.network.dtype)
        if not optimizers.same_memory(before, self._optimizer):
            self._forget()

    @property
    def standardize(self) -> bool:
        """Whether features and targets are standardised for training."""
        return self._standardize

    @standardize.setter
    def standardize(self, value: bool) -> None:
        # the network is trained on as a raw one from then on, with steps that suited the standardised one
        raise AttributeError("standardize: cannot be changed; make a new Trainer(network, standardize=...)")

    batch_size = _setting(
        "batch_size",
        lambda _, value: None if value is None else _checks.integer("batch_size", value),
        "Rows in a batch; None: all rows.",
    )
    l2 = _setting(
        "l2",
        lambda trainer, value: penalties.checked(value, trainer.network.dtype),
        "The factor of the penalty, or the penalty.",
    )
    schedule = _setting(
        "schedule",
        lambda _, value: schedules.resolve(value),
        "Of the learning rate, over the steps of a fit.",
    )
    clip_norm = _setting(
        "clip_norm",
        lambda trainer, value: (
            None
            if value is None
            else _checks.number("clip_norm", value, 0, np.inf, open_low=True, dtype=trainer.network.dtype)
        ),
        "The largest norm of a gradient; None: any.",
    )
    shuffle = _setting(
        "shuffle", lambda _, value: bool(value), "Whether each epoch has a new order of the rows."
    )
    n_threads = _setting("n_threads", lambda _, value: kernels.threads(value), "At most so many threads.")

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        epochs: int = 100,
        *,
        sample_weight: ArrayLike | None = None,
        validation_data: _Validation | None = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        monitor: _Monitor | None = None,
        callback: Callable[[int, History], bool | None] | None = None,
        progress: bool = False,
        checkpoint: Path | None = None,
        checkpoint_every: int = 10,
    ) -> History:
        """Train the network; called again, go on where the last call stopped.

        Optimizer moments, step count and the random stream continue. The network is changed when
        `fit` ends, and before each call of the callback and each checkpoint; in between it stays as it was.

        Parameters
        ----------
        X : (n, d) array_like or frame
            The names of a frame's columns become the network's `feature_names` (those of y `target_names`);
            if it has names, the columns are put in their order. Not written to, and not copied if it is
            C-contiguous and of the network's dtype (but for `standardize`). It must not be changed while
            `fit` runs: training would go on with whatever it finds.
        y : (n, m) array_like; for one output also (n,)
        epochs : int
            At most so many passes over the rows.
        sample_weight : (n,) array_like, optional
            Weights >= 0, finite, not all zero. A batch's loss is divided by its own sum of weights;
            a batch whose weights are all zero is passed over.
        validation_data : (Xv, yv) or (Xv, yv, wv), optional
            Its loss, weighted by the sample weights `wv`, is measured after each epoch.
        patience : int, optional
            Stop after so many epochs without an improvement of more than `min_delta` of the validation loss
            (without validation data: training loss), and restore the weights that had the lowest one,
            however the fit ends.
        min_delta : float >= 0
            In the units of the loss, or of the monitor. An improvement is one over the loss of the last
            improvement, so that small steps add up.
        monitor : callable, optional
            ``monitor(y, prediction)`` gives a number to be minimised in place of the validation loss, e.g.
            ``sklearn.metrics.mean_absolute_error``; after each epoch, with the validation targets and the
            predictions for them, (n,) for one output, else (n, m). Rows of weight 0 are left out, other
            weights do not reach it.
        callback : callable, optional
            ``callback(epoch, history)`` after each epoch, counted from 0 in this call; training stops if it
            returns True, and goes on if it returns False or None. It may change the trainer's settings and
            the network's parameters. (``lambda *_: bar.update()`` would return what tqdm's `update` does,
            True when it redraws; for a bar there is `progress`.)
        progress : bool
            Show a progress bar (extra ``progress``).
        checkpoint : str or path-like, optional
            Write a checkpoint to this file (`save_checkpoint`): before the first epoch, after every
            `checkpoint_every` epochs, and at the end. Should the process be killed, `resume` goes on from
            there. Ctrl-C, divergence and exceptions leave the last one as it is.
        checkpoint_every : int
            Epochs from one checkpoint to the next. One takes some milliseconds, most of them the disk's.

        Returns
        -------
        History
            Of the epochs of this call.

        Raises
        ------
        TypeError, ValueError
            An argument is of the wrong kind or shape, or holds NaN or infinity; the message names
            it. Nothing has been changed. A callback or a monitor returns something else; the best weights
            are restored.
        ImportError
            `progress` is asked for and tqdm is not installed.
        RuntimeError
            Another fit of this network is under way.
        FileExistsError
            `checkpoint` holds a fit that was cut off, or is no checkpoint: nothing is written over it.
        Exception
            Whatever the callback, the progress bar or the writing of a checkpoint raises; the best weights
            are restored first.

        Warns
        -----
        RuntimeWarning
            Training diverged: the loss is not finite, or 10**12 times what it was at the start (and
            of predicting 0). The best weights are restored, and the optimizer starts afresh.
            Or the network cannot hold in its dtype what was learnt with `standardize`, as the differences
            in a column are too small against its values; the message names it.

        Notes
        -----
        Ctrl-C ends the fit within a second, with ``stop_reason == "interrupted"``. The weights are
        then the best so far, as after divergence and exceptions. Before training begins (while the data are
        checked or the first checkpoint is written) and after its end (in the last checkpoint) it comes out
        as KeyboardInterrupt: the network is then as it was, or trained.

        "Best" without validation data goes by the loss of an epoch, which is measured while it
        runs; the weights restored are those at its start.
        """
        epochs = _checks.integer("epochs", epochs)
        patience = None if patience is None else _checks.integer("patience", patience)
        min_delta = _checks.number("min_delta", min_delta, 0, np.inf)
        every = _checks.integer("checkpoint_every", checkpoint_every)
        if checkpoint is not None:
            from fastmlp import checkpoints  # here: a process that writes no file need not load it

            checkpoints.refuse_to_replace(checkpoint)
        run = _Run(epochs, patience, min_delta, None if checkpoint is None else every, monitor is not None)
        data = self._data(X, y, sample_weight, validation_data)
        return self._go_on(run, History(), data, monitor, callback, progress, checkpoint)

    def save_checkpoint(self, path: Path) -> None:
        """Write everything that training goes on from to a safetensors file, whole or not at all.

        That is the network, the settings, moments and step count of the optimizer, the random stream, the
        scaling and the history; in a callback also how far the fit is. The data are not in it, but their
        shapes and check sums are.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            The file cannot be written; what was there before is still there.
        ValueError
            The random numbers come from a bit generator that is not one of `numpy.random`'s.

        Examples
        --------
        >>> import os, tempfile, fastmlp
        >>> X, y = fastmlp.load_titanic()
        >>> trainer = fastmlp.Trainer(fastmlp.MLP((3, 4, 1)), seed=1)
        >>> history = trainer.fit(X, y, epochs=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "checkpoint.safetensors")
        ...     trainer.save_checkpoint(path)
        ...     again = fastmlp.Trainer.resume(path, X, y)
        >>> trainer.fit(X, y, epochs=5).loss == again.fit(X, y, epochs=5).loss
        True
        """
        from fastmlp import checkpoints  # here, as in `fit`

        checkpoints.save(path, self)

    @classmethod
    def resume(
        cls,
        path: Path,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        validation_data: _Validation | None = None,
        monitor: _Monitor | None = None,
        callback: Callable[[int, History], bool | None] | None = None,
        progress: bool = False,
        n_threads: int | None = None,
        **expected: object,
    ) -> Self:
        """Read a checkpoint, go on with its fit to the end if that was cut off, and return the trainer.

        The network and the history are those that the fit would have had without the break, to the bit on
        the same machine (but for `History.seconds`). A fit that wrote checkpoints goes on writing them to
        `path`.

        Parameters
        ----------
        path : str or path-like
            Written by `fit` or `save_checkpoint`.
        X, y, sample_weight, validation_data
            Those of the fit.
        monitor, callback, progress
            As in `fit`; a checkpoint does not hold them. The callback is called again for epochs that were
            not in the checkpoint.
        n_threads : int, optional
            As in `MLP.predict`; it does not change the bits.
        **expected
            What must be in the checkpoint, by the name of a setting: ``sizes``, ``dtype``, ``optimizer``,
            ``learning_rate``, ``batch_size``, ``l2``, ``clip_norm``, ``shuffle``, ``standardize``, and for a
            fit that was cut off ``epochs``, ``patience``, ``min_delta`` and ``checkpoint_every``.

        Returns
        -------
        Trainer
            Its `network` and `history` have the result, and `fit` trains on.

        Raises
        ------
        OSError
            The file cannot be read, or the next checkpoint not written.
        ValueError
            The file is not a checkpoint, is damaged, of a newer format version, of a fit with other data or
            with other settings than `expected`; the message says which.
        TypeError, ImportError, RuntimeError, Exception
            As in `fit`.

        Examples
        --------
        A fit that is killed after some epochs, here by an exception:

        >>> import os, tempfile, fastmlp
        >>> X, y = fastmlp.load_titanic()
        >>> whole = fastmlp.Trainer(fastmlp.MLP((3, 4, 1)), seed=1)
        >>> history = whole.fit(X, y, epochs=20)
        >>> def kill(epoch, history):
        ...     if epoch == 13:
        ...         raise SystemExit
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "checkpoint.safetensors")
        ...     try:
        ...         history = fastmlp.Trainer(fastmlp.MLP((3, 4, 1)), seed=1).fit(
        ...             X, y, epochs=20, callback=kill, checkpoint=path, checkpoint_every=5)
        ...     except SystemExit:
        ...         resumed = fastmlp.Trainer.resume(path, X, y, optimizer="adam")
        >>> resumed.history.loss == whole.history.loss
        True
        >>> (resumed.network.parameters == whole.network.parameters).all().item()
        True
        """
        from fastmlp import checkpoints  # here, as in `fit`

        trainer, run = checkpoints.load(path, cls, n_threads, expected)
        data = trainer._data(X, y, sample_weight, validation_data)
        checkpoints.require_same_data(path, trainer._data_seen, fingerprints(data, trainer._data_dtype))
        if run is not None:
            if run.monitored != (monitor is not None):
                had = "with" if run.monitored else "without"
                raise ValueError(f"monitor: {os.fspath(path)} is of a fit {had} one; give the same")
            checkpoint = None if run.checkpoint_every is None else path
            trainer._go_on(run, trainer.history, data, monitor, callback, progress, checkpoint)
        return trainer

    def _go_on(self, run, history, data, monitor, callback, progress, checkpoint):
        """Train until the run is over, and return the history."""
        for name, function in (("callback", callback), ("monitor", monitor)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}: must be callable, got {type(function).__name__}")
        if checkpoint is not None:
            files.check_place(checkpoint)
        if monitor is not None and data[1] is None:
            raise ValueError("monitor: needs validation_data, of which it judges the predictions")
        me, here = object(), (os.getpid(), id(self.network))
        try:
            if _under_way.setdefault(here, me) is not me:
                raise RuntimeError(
                    "network: it is already being fitted; wait for that fit to finish, or fit a copy"
                )
            self._train(run, history, data, monitor, callback, progress, checkpoint)
        finally:  # no call in here: after one the exception of a signal can come, and the entry would stay
            try:
                if _under_way[here] is me:
                    self._run = None
                    del _under_way[here]
            except KeyError:  # another's, just gone
                pass
        if history.stop_reason == "diverged":
            scaled = " (the data are scaled: standardize=True)"
            warnings.warn(
                f"training diverged after {len(history.loss)} whole epochs; the best weights so far are "
                f"kept. Lower the learning rate (it is {self.optimizer.learning_rate:g})"
                + (scaled if self.standardize else ", or scale the data with standardize=True"),
                RuntimeWarning,
                stacklevel=3,
            )
            return history
        if checkpoint is not None and history.stop_reason != "interrupted":
            self.save_checkpoint(checkpoint)
        if self._scaling is not None:
            lost = lost_in_folding(self.network, self._left[1], self._scaling, *data[0])
            if lost:
                warnings.warn(lost, RuntimeWarning, stacklevel=3)
        return history

    def _train(self, run, history, data, monitor, callback, progress, checkpoint):
        if not self.network.parameters.flags.writeable:
            raise ValueError("network: its parameters are read-only (memory-mapped?); give it a copy of them")
        if not self._moments.flags.writeable:  # of an unpickled trainer: joblib maps large arrays
            self._moments = self._moments.copy()
        bar = _progress_bar(run.epochs, run.epoch) if progress else nullcontext()
        prepared, new_scaling = data, False
        if self.standardize:
            new_scaling = self._scaling is None
            outputs = self.network.sizes[-1]
            measured = self._scaling
            if new_scaling:
                measured = scaling.fit_scaling(*data[0], self.network.objective, outputs)
            prepared = [self._standardised(*each, measured) for each in zip(data, NAMES, strict=True)]
            self._scaling = measured
        self._data_seen = [Fingerprint.of(array, self._data_dtype) for array in _arrays(data)]
        if run.parameters is None:
            run.parameters = self._parameters()
            if new_scaling:
                weights = kernels.split_parameters(run.parameters, self.network.sizes)
                scaling.clear_constant(weights[0], self._scaling)
                if self.network.objective.starts_at_log_mean and not self.network.trained:
                    weights[-1][-1] = _log_means(*data[0][1:])
            run.best = run.parameters.copy()
        run.loop = self._loop(*prepared, run)
        net, (features, targets) = self.network, self._names_found
        if features:
            net.feature_names = features
        if targets:
            net.target_names = targets
        self._history, self._run = history, run
        if checkpoint is not None and not run.epoch:
            self.save_checkpoint(checkpoint)
        try:
            with bar as shown:
                monitored = monitor and self._monitored(monitor, *data[1])
                reason = self._epochs(prepared, run, history, monitored, callback, shown, checkpoint)
            history.stop_reason = reason  # only now: closing the bar can fail
        except KeyboardInterrupt:
            history.stop_reason = "interrupted"
        finally:
            try:
                self._finish(run, history)
            except BaseException as error:  # of a signal: once more, so that nothing stays half done
                interrupted = isinstance(error, KeyboardInterrupt)
                history.stop_reason = "interrupted" if interrupted else None
                self._finish(run, history)
                if not interrupted:
                    raise

    def _finish(self, run, history):
        """Leave trainer, network and history as the end of a fit wants them."""
        loop = run.loop
        _record(run, history)
        asked = run.patience is not None or history.stop_reason not in ("epochs", "callback")
        if asked and not _last_is_best(loop, history.stop_reason):
            run.parameters[:] = run.best
        self._steps = loop.steps
        if loop.diverged:
            self._moments[:], self._steps = 0, 0
        self._publish(run.parameters)

    def _data(self, X, y, sample_weight, validation_data):
        """The checked (X, Y, w) of the training data, and of the validation data (None without).

        X and Y are as given with `standardize`, which is measured on them; else of the network's dtype.
        """
        training, found = self._checked((X, y, sample_weight), NAMES[0])
        self._names_found = found
        if self.shuffle and len(training[0]) >= 2**32:
            raise ValueError("shuffle: takes fewer than 2**32 rows; train in parts, or with shuffle=False")
        if validation_data is None:
            return training, None
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            raise ValueError("validation_data: must be (Xv, yv) or (Xv, yv, wv)")
        validation, _ = self._checked((*validation_data, None)[:3], NAMES[1], found)
        return training, validation

    def _checked(self, arrays, names, found=(None, None)):
        """The checked (X, Y, w), and the names that the columns of X and Y have, if they are frames."""
        net = self.network
        features, outputs = net.sizes[0], net.sizes[-1]
        X, x_names = _checks.ordered(names[0], arrays[0], net.feature_names or found[0])
        y, y_names = _checks.ordered(names[1], arrays[1], net.target_names or found[1])
        checked = _checks.data(
            X, y, arrays[2], net.dtype, features, outputs, net.objective, names, as_given=self.standardize
        )
        for array, name in zip(checked[:2], names, strict=False):
            _checks.finite(name, array)
        checked = tuple(_apart_from(net.parameters, array) for array in checked)
        return checked, (x_names, y_names)

    def _standardised(self, data, names, measured=None):
        """New (X, Y, w), standardised, in the network's dtype."""
        if data is None:
            return None
        X, Y, w = data
        X, Y = scaling.transform(X, Y, measured or self._scaling, self.network.dtype)
        _checks.finite(f"standardised {names[0]}", X)
        _checks.finite(f"standardised {names[1]}", Y)
        return X, Y, w

    def _monitored(self, monitor, X, Y, w):
        """A function that gives the monitor's value for the network as it is."""
        if w is not None and not w.all():
            X, Y = X[w > 0], Y[w > 0]
        y = Y[:, 0] if Y.shape[1] == 1 else Y
        return lambda: _checks.number(
            "monitor: its result",
            monitor(y, self.network.predict(X, n_threads=self.n_threads)),
            -np.inf,
            np.inf,
        )

    def _parameters(self):
        """A copy of the network's parameters, as the training data need them."""
        net = self.network
        if self._scaling is None:
            return net.parameters.copy()
        if self._left is not None and np.array_equal(net.parameters, self._left[0]):
            return self._left[1].copy()  # to the bit where the last fit stopped
        parameters = net.parameters.copy()
        if net.trained:
            scaling.unfold(kernels.split_parameters(parameters, net.sizes), self._scaling)
        return parameters

    def _publish(self, parameters):
        """Give the network the parameters that are being trained."""
        net = self.network
        raw = parameters
        if self._scaling is not None:
            if self._left is None or not _same_bits(self._left[1], parameters):
                raw = parameters.copy()
                scaling.fold(kernels.split_parameters(raw, net.sizes), self._scaling)
                self._left = raw, parameters.copy()
            raw = self._left[0]
        net.parameters[:] = raw
        net.trained = True

    def _take_over(self, run):
        """Train on with what a callback has made of the network's parameters since they were published."""
        net = self.network
        if not run.published or _same_bits(
            net.parameters, run.parameters if self._scaling is None else self._left[0]
        ):
            return
        run.parameters[:] = self._parameters()
        if self._scaling is not None:
            self._left = net.parameters.copy(), run.parameters.copy()
        run.changed = True

    @property
    def _data_dtype(self):
        """That of the checked data; with `standardize` they come in any, and are compared in float64."""
        return np.float64 if self.standardize else self.network.dtype

    def _settings(self):
        names = ("optimizer", "schedule", "batch_size", "l2", "clip_norm", "shuffle", "n_threads")
        return tuple(getattr(self, name) for name in names)

    def _loop(self, training, validation, run):
        X, Y, _ = training
        net = self.network
        scale = None if self._scaling is None else self._scaling.scale_y
        network = kernels.compiled(net.sizes, net.activations, net.dtype, net.objective, Y.shape[1], scale)
        baseline = net.objective.baseline(Y, net.sizes[-1])
        if scale is not None and net.objective.degree is not None:
            baseline *= float(np.mean(scale**net.objective.degree))
        return kernels.fit_loop(net.dtype)(
            network,
            training,
            validation,
            run.parameters,
            self._moments,
            run.best,
            optimizer=optimizers.compiled(
                self.optimizer,
                penalty=penalties.resolve(self.l2),
                clip_norm=self.clip_norm,
                steps=self._steps,
            ),
            schedule=schedules.compiled(self.schedule),
            batch_size=self.batch_size or len(X),
            bit_generator=self._bit_generator if self.shuffle else None,
            max_epochs=run.epochs,
            patience=run.patience or 0,
            min_delta=run.min_delta,
            judged_outside=run.monitored,
            lock=self._bit_generator.lock if self._shares_random else None,
            baseline_loss=baseline,
            threads=self.n_threads,
            epoch=run.epoch,
            best_epoch=run.best_epoch,
            best_loss=run.best_loss,
            improved_epoch=run.improved_epoch,
            improved_loss=run.improved_loss,
            divergence_threshold=run.limit,
        )

    def _epochs(self, data, run, history, monitored, callback, bar, checkpoint):
        """Train until there is a reason to stop, and return it."""
        run.losses = np.empty((2, 1 if callback or monitored else EPOCHS_AT_ONCE))
        every = EPOCHS_AT_ONCE if checkpoint is None else run.checkpoint_every
        out_of_patience = run.patience and run.epoch - run.improved_epoch > run.patience
        reason = "patience" if out_of_patience else None  # saved by a callback in the last epoch
        while reason is None:
            loop = run.loop
            before, run.started, run.values = loop.epoch, time.perf_counter(), []
            reason = loop.run(*run.losses[:, : every - before % every])
            done = loop.epoch - before
            due = checkpoint is not None and done and loop.epoch % every == 0
            if done and (callback or due or monitored):
                self._publish(run.parameters)
                run.published = True
            if monitored and done and reason != "diverged":
                value = monitored()
                reason = loop.judge(value) or reason
                run.values = [value]
            _record(run, history)
            self._steps = loop.steps
            if bar and done:
                bar.update(done)
                bar.set_postfix(loss=f"{history.loss[-1]:.4g}", refresh=False)
            if callback and done:
                settings = self._settings()
                if _says_stop(callback(loop.epoch - 1, history)) and reason is None:
                    reason = "callback"
                self._take_over(run)
                if (run.changed or self._settings() != settings) and reason != "diverged":
                    run.loop, run.changed = self._loop(*data, run), False
            if due and reason is None:
                self.save_checkpoint(checkpoint)
        return reason


def _apart_from(parameters, array):
    """The array, or a copy where it lies in the parameters, which change while it is read."""
    return array.copy() if array is not None and np.may_share_memory(array, parameters) else array


def lost_in_folding(net, parameters, measured, X, Y, w):
    """What to warn of where a network is worse on raw values than it was in training; None where it is not.

    `parameters` are those that were trained, on data with the Scaling `measured`.
    """
    ratio, which, j = scaling.least_resolved(measured, net.dtype)
    if ratio <= scaling.SAFE_RATIO:
        return None
    rows = np.arange(len(X)) if w is None else np.flatnonzero(w)
    rows = rows[:: -(-len(rows) // ROWS_COMPARED)]
    X, Y, w = X[rows], Y[rows], None if w is None else w[rows]
    objective, dtype = net.objective, parameters.dtype
    X_scaled, _ = scaling.transform(X, Y, measured, np.float64)
    learnt = MLP._like(parameters, net.sizes, net.activations, objective, dtype)
    Y = np.asarray(Y, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = learnt.predict(X_scaled.astype(dtype), raw=True).reshape(len(X), -1).astype(np.float64)
        outputs = outputs * measured.scale_y + measured.mean_y
        unit = np.mean(measured.scale_y ** (objective.degree or 0))
        raw, reached = (
            float(np.average(objective.losses(each, Y), weights=w)) / unit
            for each in (net.predict(X, raw=True).reshape(len(X), -1).astype(np.float64), outputs)
        )
    if not scaling.is_lost(raw, reached):
        return None
    names = net.feature_names if which == "X" else net.target_names
    column = f"column {j} of {which}" if names is None else f"column {names[j]!r}"
    unit_name = {2: " variances of the targets", 1: " standard deviations of the targets"}.get(
        objective.degree, ""
    )
    wider = "dtype='float64' for the network, or " if net.dtype == np.float32 else ""
    return (
        f"the network, which takes raw values, has a loss of {raw:.3g}{unit_name}, and"
        f" training had reached {reached:.3g}: {net.dtype} does not hold the differences in {column}"
        f" beside its values (mean / standard deviation: {ratio:.3g}); use {wider}values less their mean,"
        " in a larger or smaller unit if they are extreme"
    )


def _same_bits(one, other):
    """Whether two arrays of a dtype are the same, NaN and all."""
    return np.array_equal(one.view(np.uint8), other.view(np.uint8))


def _says_stop(answer):
    """Whether a callback's answer is to stop: True."""
    if answer is None or isinstance(answer, bool | np.bool_):
        return bool(answer)
    raise TypeError(
        f"callback: must return True to stop, False or None to go on, got {type(answer).__name__} "
        f"{answer!r:.40}; end it with `return None`"
    )


class Fingerprint:
    """Shape and check sum of an array, calculated when it is asked for."""

    def __init__(self, array: np.ndarray, dtype: DTypeLike) -> None:
        """Of the numbers in a dtype, in which the same ones may come again from another."""
        self._array: Any = weakref.ref(array)
        self._dtype = dtype
        self._value: list | None = None

    @classmethod
    def of(cls, array, dtype):
        """The Fingerprint of an array; None for None."""
        return None if array is None else cls(array, dtype)

    @property
    def value(self) -> list | None:
        """[shape, check sum]; None where the array is gone, and nobody had asked."""
        array = self._array()
        if self._value is None and array is not None:
            self._value = [list(array.shape), _checksum(np.ascontiguousarray(array, self._dtype))]
        return self._value

    def __getstate__(self):
        return self.value

    def __setstate__(self, value):
        self._array, self._value = (lambda: None), value


def _arrays(data):
    """The arrays of the training and the validation data, in order; None for what is not there."""
    training, validation = data
    return (*training, *(validation or (None, None, None)))


def fingerprints(data, dtype):
    """[shape, check sum] of each array of the data."""
    return [None if array is None else Fingerprint(array, dtype).value for array in _arrays(data)]


def _log_means(Y, w):
    """The logarithm of the weighted mean of each target; 0 where that is 0."""
    means = np.average(Y, axis=0, weights=w).astype(np.float64)
    return np.log(np.where(means > 0, means, 1))


def _checksum(array):
    """CRC 32 of the bytes; of a large array that of its bits' sums along the rows and columns of a square.

    CRC 32 alone takes as long as 4 steps of 3-4-1, and this 2 to 6 times less (10**5 x 3 numbers: 278 and
    64 us). Numbers that change places change the sums, too, unless they are made up for it.
    """
    if array.nbytes <= SUMMED_UP:
        return zlib.crc32(files.little_endian(array))
    bits = array.reshape(-1).view(f"{array.dtype.byteorder}u{array.itemsize}")
    side = math.isqrt(bits.size)
    square, rest = bits[: side * side].reshape(side, side), bits[side * side :]
    sums = np.concatenate([*(square.sum(axis, dtype=f"u{array.itemsize}") for axis in (0, 1)), rest])
    return zlib.crc32(files.little_endian(sums))


def _record(run, history):
    """Add the epochs since the last record. A signal can cut it short: begun again, it starts over."""
    loop = run.loop
    before, new = run.epoch, loop.epoch - run.epoch
    seconds = time.perf_counter() - run.started
    if new:
        history.loss[before:] = run.losses[0, :new].tolist()
        history.validation_loss[before:] = run.losses[1, :new].tolist() if loop.validates else []
        history.seconds[before:] = [seconds / new] * new
        history.monitor[before:] = run.values
        history.best_epoch = loop.best_epoch if loop.best_epoch >= 0 else None
    run.best_epoch, run.best_loss, run.limit = loop.best_epoch, loop.best_loss, loop.divergence_threshold
    run.improved_epoch, run.improved_loss = loop.improved_epoch, loop.improved_loss
    run.epoch = loop.epoch


def _last_is_best(loop, reason):
    """Whether the last weights, which no epoch has measured, beat the best ones that one has."""
    if loop.diverged or reason is None or loop.validates:
        return False
    if reason == "interrupted":
        return loop.running_loss <= loop.best_loss and loop.sound()
    return loop.closing_loss() <= loop.best_loss


def _progress_bar(epochs, done):
    try:
        return _extras.progress_bar(epochs, done)
    except ModuleNotFoundError as error:
        raise _extras.missing(error, "progress=True", "progress") from None
