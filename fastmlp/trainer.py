"""Trainer: fits a network. Epochs, validation, stopping; the loop itself is compiled."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks, _extras, kernels, optimizers, scaling
from fastmlp.network import MLP, matrices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

EPOCHS_AT_ONCE = 1024  # at most, between two looks at the clock


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
        self.shuffle = bool(shuffle)
        self.n_threads = kernels.threads(n_threads)
        self.standardize = bool(standardize)
        self._bit_generator = np.random.default_rng(seed).bit_generator
        self._moments = np.zeros((2, network.parameters.size), dtype=network.dtype)
        self._steps = 0
        self._scaling = None
        self._left = None  # (raw, standardised) parameters at the end of the last fit

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
    ) -> History:
        """Train the network; called again, go on where the last call stopped.

        Optimizer moments, step count and the random stream continue. The network is changed when
        `fit` ends, and before each call of the callback; in between it stays as it was.

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
        Exception
            Whatever the callback or the progress bar raises; the best weights are restored first.

        Warns
        -----
        RuntimeWarning
            Training diverged: the loss is not finite, or 10**12 times what it was at the start (and
            of predicting 0). The best weights are restored, and the optimizer starts afresh.

        Notes
        -----
        Ctrl-C ends the fit within a second, with ``stop_reason == "interrupted"``. The weights are
        then the best so far, as after divergence and exceptions.

        "Best" without validation data goes by the loss of an epoch, which is measured while it
        runs; the weights restored are those at its start.
        """
        epochs = _checks.integer("epochs", epochs)
        patience = None if patience is None else _checks.integer("patience", patience)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback: must be callable, got {type(callback).__name__}")
        training, validation = self._data(X, y, sample_weight, validation_data)
        bar = _progress_bar(epochs) if progress else nullcontext()
        if self.standardize:
            if self._scaling is None:
                self._scaling = scaling.measure(*training)
            training, validation = (self._standardised(data) for data in (training, validation))
        parameters = self._parameters()
        best = np.empty_like(parameters)
        loop = self._loop(training, validation, parameters, best, epochs, patience)
        history = History()
        try:
            with bar as shown:
                history.stop_reason = self._run(loop, history, parameters, callback, shown)
        except KeyboardInterrupt:
            history.stop_reason = "interrupted"
        finally:
            self._steps = loop.steps
            asked = patience is not None or history.stop_reason not in ("epochs", "callback")
            if asked and not _last_is_best(loop, history.stop_reason, validation):
                parameters[:] = best
            self._publish(parameters)
        if history.stop_reason == "diverged":
            self._moments[:], self._steps = 0, 0
            warnings.warn(
                f"training diverged after {len(history.loss)} whole epochs; the best weights so far are "
                f"kept. Lower the learning rate (it is {self.optimizer.learning_rate}), or scale the "
                "data with standardize=True",
                RuntimeWarning,
                stacklevel=2,
            )
        return history

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
            self._left = raw, parameters
        net.parameters[:] = raw
        net.trained = True

    def _loop(self, training, validation, parameters, best, epochs, patience):
        X, Y, _ = training
        outputs = Y.shape[1]
        units = np.ones(outputs) if self._scaling is None else self._scaling.scale_y**2
        mean_squares = np.einsum("ij,ij->j", Y, Y, dtype=np.float64) / len(Y)
        return kernels._fit_loop(self.network.dtype)(
            training,
            validation,
            parameters,
            self._moments,
            best,
            units,
            self.network.sizes,
            optimizer=optimizers.compiled(self.optimizer, l2=self.l2, steps=self._steps),
            batch_size=self.batch_size or len(X),
            bit_generator=self._bit_generator if self.shuffle else None,
            max_epochs=epochs,
            patience=patience or 0,
            mean_square=units @ mean_squares / outputs,
            threads=self.n_threads,
        )

    def _run(self, loop, history, parameters, callback, bar):
        """Train until there is a reason to stop, and return it."""
        losses = np.empty((2, 1 if callback else EPOCHS_AT_ONCE))
        reason = None
        while reason is None:
            before, started = loop.epoch, time.perf_counter()
            try:
                reason = loop.run(*losses)
            finally:
                done = loop.epoch - before
                _record(history, loop, losses[:, :done], time.perf_counter() - started)
            if bar and done:
                bar.update(done)
                bar.set_postfix(loss=f"{history.loss[-1]:.4g}", refresh=False)
            if callback and done:
                self._publish(parameters)
                if callback(loop.epoch - 1, history) and reason is None:
                    reason = "callback"
        return reason


def _apart_from(parameters, array):
    """The array, or a copy where it lies in the parameters, which change while it is read."""
    return array.copy() if array is not None and np.may_share_memory(array, parameters) else array


def _record(history, loop, losses, seconds):
    epochs = losses.shape[1]
    history.loss += losses[0].tolist()
    if loop.validates:
        history.validation_loss += losses[1].tolist()
    history.seconds += [seconds / max(epochs, 1)] * epochs
    history.best_epoch = loop.best_epoch if loop.best_epoch >= 0 else None


def _last_is_best(loop, reason, validation):
    """Whether the last weights, which no epoch has measured, beat the best ones that one has."""
    if reason in ("diverged", None) or validation is not None:
        return False
    loss = loop.running_loss if reason == "interrupted" else loop.closing_loss()
    return loss <= loop.best_loss


def _progress_bar(epochs):
    try:
        from tqdm import tqdm
    except ModuleNotFoundError as error:
        raise _extras.missing(error, "progress=True", "progress") from None
    return tqdm(total=epochs, unit="epoch")
