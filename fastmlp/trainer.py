"""Trainer: fits a network. Epochs, validation, stopping; the loop itself is compiled."""

from __future__ import annotations

import math
import os
import time
import warnings
import zlib
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks, _extras, kernels, optimizers, scaling
from fastmlp.network import MLP, matrices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from fastmlp.network import Path

EPOCHS_AT_ONCE = 1024  # at most, between two looks at the clock
SUMMED_UP = 2**16  # bytes, above which a check sum is that of sums

# The fits under way, as (process, network): a child that is forked meanwhile has none. dict.setdefault is one
# step for all threads, also without the GIL.
_under_way: dict[tuple[int, int], object] = {}


@dataclass
class History:
    """What happened in one call of `Trainer.fit`.

    Attributes
    ----------
    loss : list of float
        For each epoch the mean squared error of the training rows, as they were seen: each batch
        before its step. In squared units of the raw targets, without the L2 penalty.
    validation_loss : list of float
        The same for the validation data, after each epoch; empty if there are none.
    seconds : list of float
        Wall time of each epoch. Epochs too short to time one by one share the time of their group.
    best_epoch : int or None
        The epoch of the lowest validation loss (without validation data: loss); None if no epoch
        was finished.
    stop_reason : {"epochs", "patience", "callback", "interrupted", "diverged"} or None
        None while the fit goes on.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stop_reason: str | None = None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses, as `fastmlp.plot.losses` does (extra ``plot``); return the axes.

        Examples
        --------
        >>> History(loss=[3.0, 2.0, 1.5], best_epoch=2).plot().get_ylabel()
        'mean squared error'
        """
        from fastmlp import plot  # here, as matplotlib is an extra

        return plot.losses(self, ax)


@dataclass
class _Run:
    """A call of `fit` that is not over, at the end of an epoch: what another one needs to go on with it."""

    epochs: int
    patience: int | None
    checkpoint_every: int | None
    parameters: np.ndarray | None = None  # (size,) as they are trained: with `standardize` not the network's
    best: np.ndarray | None = None  # (size,) those of the lowest loss
    epoch: int = 0  # epochs done
    best_epoch: int = -1
    best_loss: float = np.inf
    limit: float = 0.0  # of the loss, before it counts as diverged; 0: not known yet
    losses: np.ndarray | None = None  # (2, at once) of the epochs that are trained since `started`
    started: float = 0.0


class Trainer:
    """Trains a network by gradient descent on its mean squared error.

    Parameters
    ----------
    network : MLP
        Changed by `fit`.
    optimizer : {"adam", "adamw", "sgd"}, or SGD, Adam or AdamW
    learning_rate : float > 0, optional
        In place of the optimizer's own.
    batch_size : int or None
        Rows in a batch; the last of an epoch may be smaller. None: all rows.
    l2 : float >= 0
        Adds l2/2 times the sum of the squared weights (not biases) to the loss that is minimised.
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
        outputs. The weights of a new network are taken as those of the standardised problem; those
        of one that was trained or loaded, as the raw problem's. The scaling is measured in the
        first `fit` and kept for the next ones.

    Attributes
    ----------
    network : MLP
    history : History or None
        Of the last call of `fit`, or of the one under way; `resume` goes on with it.

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
        batch_size: int | None = 32,
        l2: float = 0.0,
        shuffle: bool = True,
        seed: int | Sequence[int] | np.random.Generator | None = None,
        n_threads: int | None = None,
        standardize: bool = False,
    ) -> None:
        if not isinstance(network, MLP):
            raise TypeError(f"network: must be an MLP, got {type(network).__name__}")
        self.network = network
        self.optimizer = optimizers.resolve(optimizer, learning_rate)
        self.batch_size = None if batch_size is None else _checks.integer("batch_size", batch_size)
        self.l2 = _checks.number("l2", l2, 0, np.inf)
        self._l2_over_weight = 0.0  # divided by each batch's weight; of MLPRegressor
        self._rate_unit = 1.0  # of the learning rate that a warning names; of MLPRegressor
        self.shuffle = bool(shuffle)
        self.n_threads = kernels.threads(n_threads)
        self.standardize = bool(standardize)
        self._bit_generator = np.random.default_rng(seed).bit_generator
        self._moments = np.zeros((2, network.parameters.size), dtype=network.dtype)
        self._steps = 0
        self._scaling = None
        self._left = None  # (raw, standardised) parameters at the end of the last fit
        self.history: History | None = None
        self._data_seen: list | None = None  # by the last fit, as `_fingerprints`
        self._run: _Run | None = None  # the fit under way

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        epochs: int = 100,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        patience: int | None = None,
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
        X : (n, d) array_like
            Not written to, and not copied if it is C-contiguous and of the network's dtype (but for
            `standardize`). It must not be changed while `fit` runs: training would go on with
            whatever it finds.
        y : (n, m) array_like; for one output also (n,)
        epochs : int
            At most so many passes over the rows.
        sample_weight : (n,) array_like, optional
            Weights >= 0, finite, not all zero. A batch's loss is divided by its own sum of weights;
            a batch whose weights are all zero is passed over.
        validation_data : (Xv, yv), optional
            Its loss is measured after each epoch.
        patience : int, optional
            Stop after so many epochs without a lower validation loss (without validation data:
            training loss), and restore the weights that had the lowest one, however the fit ends.
        callback : callable, optional
            ``callback(epoch, history)`` after each epoch, counted from 0 in this call; training
            stops if it returns True.
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
            it. Nothing has been changed.
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
        every = _checks.integer("checkpoint_every", checkpoint_every)
        if checkpoint is not None:
            from fastmlp import checkpoints  # here: a process that writes no file need not load it

            checkpoints.refuse_to_replace(checkpoint)
        run = _Run(epochs, patience, None if checkpoint is None else every)
        data = self._data(X, y, sample_weight, validation_data)
        return self._go_on(run, History(), data, callback, progress, checkpoint)

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
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
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
        callback, progress
            As in `fit`; a checkpoint does not hold them. The callback is called again for epochs that were
            not in the checkpoint.
        n_threads : int, optional
            As in `MLP.predict`; it does not change the bits.
        **expected
            What must be in the checkpoint, by the name of a setting: ``sizes``, ``dtype``, ``optimizer``,
            ``learning_rate``, ``batch_size``, ``l2``, ``shuffle``, ``standardize``, and for a fit that was
            cut off ``epochs``, ``patience`` and ``checkpoint_every``.

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
        checkpoints.require_same_data(path, trainer._data_seen, _fingerprints(*data))
        if run is not None:
            checkpoint = None if run.checkpoint_every is None else path
            trainer._go_on(run, trainer.history, data, callback, progress, checkpoint)
        return trainer

    def _go_on(self, run, history, data, callback, progress, checkpoint):
        """Train until the run is over, and return the history."""
        if callback is not None and not callable(callback):
            raise TypeError(f"callback: must be callable, got {type(callback).__name__}")
        me, here = object(), (os.getpid(), id(self.network))
        try:
            if _under_way.setdefault(here, me) is not me:
                raise RuntimeError(
                    "network: another fit of it is under way; wait for its end, or train a copy"
                )
            self._train(run, history, data, callback, progress, checkpoint)
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
                f"kept. Lower the learning rate (it is {self.optimizer.learning_rate / self._rate_unit:g})"
                + (scaled if self.standardize else ", or scale the data with standardize=True"),
                RuntimeWarning,
                stacklevel=3,
            )
        elif checkpoint is not None and history.stop_reason != "interrupted":
            self.save_checkpoint(checkpoint)
        return history

    def _train(self, run, history, data, callback, progress, checkpoint):
        if not self.network.parameters.flags.writeable:
            raise ValueError("network: its parameters are read-only (memory-mapped?); give it a copy of them")
        if not self._moments.flags.writeable:  # of an unpickled trainer: joblib maps large arrays
            self._moments = self._moments.copy()
        bar = _progress_bar(run.epochs, run.epoch) if progress else nullcontext()
        training, validation = data
        self._data_seen = _fingerprints(training, validation)
        if self.standardize:
            if self._scaling is None:
                self._scaling = scaling.measure(*training)
            training, validation = (self._standardised(each) for each in data)
        if run.parameters is None:
            run.parameters = self._parameters()
            run.best = run.parameters.copy()
        loop = self._loop(training, validation, run)
        self.history, self._run = history, run
        if checkpoint is not None and not run.epoch:
            self.save_checkpoint(checkpoint)
        try:
            with bar as shown:
                reason = self._epochs(loop, run, history, callback, shown, checkpoint)
            history.stop_reason = reason  # only now: closing the bar can fail
        except KeyboardInterrupt:
            history.stop_reason = "interrupted"
        finally:
            try:
                self._finish(loop, run, history, validation)
            except BaseException as error:  # of a signal: once more, so that nothing stays half done
                interrupted = isinstance(error, KeyboardInterrupt)
                history.stop_reason = "interrupted" if interrupted else None
                self._finish(loop, run, history, validation)
                if not interrupted:
                    raise

    def _finish(self, loop, run, history, validation):
        """Leave trainer, network and history as the end of a fit wants them."""
        _record(run, history, loop)
        asked = run.patience is not None or history.stop_reason not in ("epochs", "callback")
        if asked and not _last_is_best(loop, history.stop_reason, validation):
            run.parameters[:] = run.best
        self._steps = loop.steps
        if loop.diverged:
            self._moments[:], self._steps = 0, 0
        self._publish(run.parameters)

    def _data(self, X, y, sample_weight, validation_data):
        """The checked (X, Y, w) of the training data, and of the validation data (None without)."""
        training = self._checked((X, y, sample_weight), ("X", "y", "sample_weight"))
        if self.shuffle and len(training[0]) >= 2**32:
            raise ValueError("shuffle: takes fewer than 2**32 rows; train in parts, or with shuffle=False")
        if validation_data is None:
            return training, None
        try:
            Xv, yv = validation_data
        except (TypeError, ValueError):
            raise ValueError("validation_data: must be a pair (Xv, yv)") from None
        return training, self._checked((Xv, yv, None), ("validation_data[0]", "validation_data[1]", ""))

    def _checked(self, arrays, names):
        net = self.network
        features, _, outputs = net.sizes
        checked = _checks.data(*arrays, net.dtype, features, outputs, names)
        for array, name in zip(checked[:2], names, strict=False):
            _checks.finite(name, array)
        return tuple(_apart_from(net.parameters, array) for array in checked)

    def _standardised(self, data):
        if data is None:
            return None
        X, Y, w = data
        return *scaling.standardised(X, Y, self._scaling), w

    def _parameters(self):
        """A copy of the network's parameters, as the training data need them."""
        net = self.network
        if self._scaling is None:
            return net.parameters.copy()
        if self._left is not None and np.array_equal(net.parameters, self._left[0]):
            return self._left[1].copy()  # to the bit where the last fit stopped
        parameters = net.parameters.copy()
        if net.trained:
            scaling.unfold(*matrices(parameters, net.sizes), self._scaling)
        return parameters

    def _publish(self, parameters):
        """Give the network the parameters that are being trained."""
        net = self.network
        raw = parameters
        if self._scaling is not None:
            raw = parameters.copy()
            scaling.fold(*matrices(raw, net.sizes), self._scaling)
            self._left = raw, parameters.copy()
        net.parameters[:] = raw
        net.trained = True

    def _loop(self, training, validation, run):
        X, Y, _ = training
        outputs = Y.shape[1]
        units = np.ones(outputs) if self._scaling is None else self._scaling.scale_y**2
        mean_squares = np.einsum("ij,ij->j", Y, Y, dtype=np.float64) / len(Y)
        return kernels._fit_loop(self.network.dtype)(
            training,
            validation,
            run.parameters,
            self._moments,
            run.best,
            units,
            self.network.sizes,
            optimizer=optimizers.compiled(
                self.optimizer, l2=self.l2, l2_over_weight=self._l2_over_weight, steps=self._steps
            ),
            batch_size=self.batch_size or len(X),
            bit_generator=self._bit_generator if self.shuffle else None,
            max_epochs=run.epochs,
            patience=run.patience or 0,
            mean_square=units @ mean_squares / outputs,
            threads=self.n_threads,
            epoch=run.epoch,
            best_epoch=run.best_epoch,
            best_loss=run.best_loss,
            limit=run.limit,
        )

    def _epochs(self, loop, run, history, callback, bar, checkpoint):
        """Train until there is a reason to stop, and return it."""
        run.losses = np.empty((2, 1 if callback else EPOCHS_AT_ONCE))
        every = EPOCHS_AT_ONCE if checkpoint is None else run.checkpoint_every
        out_of_patience = run.patience and run.epoch - run.best_epoch > run.patience
        reason = "patience" if out_of_patience else None  # saved by a callback in the last epoch
        while reason is None:
            before, run.started = loop.epoch, time.perf_counter()
            reason = loop.run(*run.losses[:, : every - before % every])
            done = loop.epoch - before
            _record(run, history, loop)
            self._steps = loop.steps
            if bar and done:
                bar.update(done)
                bar.set_postfix(loss=f"{history.loss[-1]:.4g}", refresh=False)
            due = checkpoint is not None and done and loop.epoch % every == 0
            if done and (callback or due):
                self._publish(run.parameters)
            if callback and done and callback(loop.epoch - 1, history) and reason is None:
                reason = "callback"
            if due and reason is None:
                self.save_checkpoint(checkpoint)
        return reason


def _apart_from(parameters, array):
    """The array, or a copy where it lies in the parameters, which change while it is read."""
    return array.copy() if array is not None and np.may_share_memory(array, parameters) else array


def _fingerprints(training, validation):
    """Shape and check sum of each array of the data, in order; None for what is not there."""
    arrays = (*training, *(validation or (None, None, None))[:2])
    return [None if array is None else [list(array.shape), _check_sum(array)] for array in arrays]


def _check_sum(array):
    """CRC 32 of the bytes; of a large array that of its bits' sums along the rows and columns of a square.

    CRC 32 alone takes as long as 4 steps of 3-4-1, and this 2 to 6 times less (10**5 x 3 numbers: 278 and
    64 us). Numbers that change places change the sums, too, unless they are made up for it.
    """
    if array.nbytes <= SUMMED_UP:
        return zlib.crc32(array)
    bits = array.reshape(-1).view(f"u{array.itemsize}")
    side = math.isqrt(bits.size)
    square, rest = bits[: side * side].reshape(side, side), bits[side * side :]
    return zlib.crc32(np.concatenate([*(square.sum(axis, dtype=bits.dtype) for axis in (0, 1)), rest]))


def _record(run, history, loop):
    """Add the epochs since the last record. A signal can cut it short: begun again, it starts over."""
    before, new = run.epoch, loop.epoch - run.epoch
    seconds = time.perf_counter() - run.started
    if new:
        history.loss[before:] = run.losses[0, :new].tolist()
        history.validation_loss[before:] = run.losses[1, :new].tolist() if loop.validates else []
        history.seconds[before:] = [seconds / new] * new
        history.best_epoch = loop.best_epoch if loop.best_epoch >= 0 else None
    run.best_epoch, run.best_loss, run.limit = loop.best_epoch, loop.best_loss, loop.limit
    run.epoch = loop.epoch


def _last_is_best(loop, reason, validation):
    """Whether the last weights, which no epoch has measured, beat the best ones that one has."""
    if loop.diverged or reason is None or validation is not None:
        return False
    if reason == "interrupted":
        return loop.running_loss <= loop.best_loss and loop.sound()
    return loop.closing_loss() <= loop.best_loss


def _progress_bar(epochs, done):
    try:
        from tqdm import tqdm
    except ModuleNotFoundError as error:
        raise _extras.missing(error, "progress=True", "progress") from None
    return tqdm(total=epochs, initial=done, unit="epoch")
