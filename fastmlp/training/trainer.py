"""Trainer: what the user sees of training. A fit is in fitting.py, its data in data.py."""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks, kernels, optimizers, penalties, scaling, schedules
from fastmlp.io import files
from fastmlp.network import MLP
from fastmlp.training import data, fitting
from fastmlp.training.settings import Settings
from fastmlp.training.state import Fit, FitState, History

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from numpy.typing import ArrayLike

    from fastmlp.network import Path

    _Validation = tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike]
    _Monitor = Callable[[np.ndarray, np.ndarray], float]


def _setting(name, doc):
    """A property of Trainer that is checked whenever it is set."""

    def change(trainer, value):
        state = trainer._state
        state.settings = state.settings.changed(state.network.dtype, name, value)

    return property(lambda trainer: getattr(trainer._state.settings, name), change, doc=doc)


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
        Of the last call of `fit`, or of the one in progress; `resume` continues it. Read-only.
    standardize : bool
        Read-only.
    optimizer, learning_rate, schedule, batch_size, l2, clip_norm, shuffle, n_threads
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

    # so that setting what there is not (trainer.patience) is an error
    __slots__ = ("__weakref__", "_state")

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
        settings = Settings.checked(
            network.dtype,
            optimizer=optimizers.resolve(optimizer, learning_rate, network.dtype),
            batch_size=batch_size,
            schedule=schedule,
            l2=l2,
            clip_norm=clip_norm,
            shuffle=shuffle,
            n_threads=n_threads,
            standardize=standardize,
        )
        self._state = FitState(
            network,
            settings,
            moments=np.zeros((2, network.parameters.size), network.dtype),
            bit_generator=_checks.random_generator(seed).bit_generator,
            caches=kernels.CACHES,
            # one that was made here is nobody else's, and needs no lock
            shares_bit_generator=hasattr(seed, "bit_generator") or hasattr(seed, "lock"),
        )

    @property
    def network(self) -> MLP:
        """The network that is trained."""
        return self._state.network

    @property
    def history(self) -> History | None:
        """What happened in the last call of `fit`, or in the one under way."""
        return self._state.history

    @property
    def scaling(self) -> scaling.Scaling | None:
        """With `standardize`, what the first fit measured (`fastmlp.scaling.Scaling`); None before."""
        return self._state.scaling

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """How the weights move: SGD, Adam or AdamW."""
        return self._state.settings.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: str | optimizers.Optimizer) -> None:
        state, before = self._state, self.optimizer
        state.settings = state.settings.changed(state.network.dtype, "optimizer", optimizer)
        if not optimizers.same_memory(before, self.optimizer):
            state.moments[:], state.steps = 0, 0

    @property
    def learning_rate(self) -> float:
        """That of the optimizer; set, it is the optimizer's from then on."""
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.optimizer = optimizers.resolve(self.optimizer, value, self.network.dtype)

    @property
    def standardize(self) -> bool:
        """Whether features and targets are standardised for training."""
        return self._state.settings.standardize

    @standardize.setter
    def standardize(self, value: bool) -> None:
        # the network is trained on as a raw one from then on, with steps that suited the standardised one
        raise AttributeError("standardize: cannot be changed; make a new Trainer(network, standardize=...)")

    batch_size = _setting("batch_size", "Rows in a batch; None: all rows.")
    l2 = _setting("l2", "The factor of the penalty, or the penalty.")
    schedule = _setting("schedule", "Of the learning rate, over the steps of a fit.")
    clip_norm = _setting("clip_norm", "The largest norm of a gradient; None: any.")
    shuffle = _setting("shuffle", "Whether each epoch has a new order of the rows.")
    n_threads = _setting("n_threads", "At most so many threads.")

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
        """Train the network; called again, continue where the last call stopped.

        Optimizer moments, step count and the random stream continue. The network is changed when
        `fit` ends, and before each call of the callback and each checkpoint; in between it stays as it was.

        Parameters
        ----------
        X : (n, d) array_like or frame
            The names of a frame's columns become the network's `feature_names` (those of y `target_names`);
            if it has names, the columns are put in their order. Not written to, and not copied if it is
            C-contiguous and of the network's dtype (but for `standardize`). It must not be changed while
            `fit` runs: training would continue with whatever it finds.
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
            returns True, and continues if it returns False or None. It may change the trainer's settings and
            the network's parameters. (``lambda *_: bar.update()`` would return what tqdm's `update` does,
            True when it redraws; for a bar there is `progress`.)
        progress : bool
            Show a progress bar (extra ``progress``).
        checkpoint : str or path-like, optional
            Write a checkpoint to this file (`save_checkpoint`): before the first epoch, after every
            `checkpoint_every` epochs, and at the end. Should the process be killed, `resume` continues from
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
            `checkpoint` contains an unfinished fit, or is no checkpoint: nothing is written over it.
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
            from fastmlp.training import checkpoint as checkpoints  # here: most processes write no file

            checkpoints.check_overwrite(checkpoint)
        fit = Fit(epochs, patience, min_delta, None if checkpoint is None else every, monitor is not None)
        prepared = data.prepare(self._state, X, y, sample_weight, validation_data)
        return self._run_fit(fit, History(), prepared, monitor, callback, progress, checkpoint)

    def save_checkpoint(self, path: Path) -> None:
        """Write everything that is needed to continue to a safetensors file, whole or not at all.

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
        from fastmlp.training import checkpoint  # here, as in `fit`

        fitting.take_over(self.network)  # what a callback has changed before it saves
        checkpoint.save(path, self._state)

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
        """Read a checkpoint, continue its fit to the end if it is unfinished, and return the trainer.

        The network and the history are those that the fit would have had without the break, to the bit on
        the same machine (but for `History.seconds`). A fit that wrote checkpoints continues to write them to
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
            unfinished fit ``epochs``, ``patience``, ``min_delta`` and ``checkpoint_every``.

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
        from fastmlp.training import checkpoint  # here, as in `fit`

        trainer = cls.__new__(cls)
        trainer._state = state = checkpoint.load(path)
        trainer.n_threads = n_threads
        checkpoint.check_expected(path, state, expected)
        prepared = data.prepare(state, X, y, sample_weight, validation_data)
        checkpoint.check_same_data(path, state, prepared)
        fit = state.fit
        if fit is not None:
            if fit.monitored != (monitor is not None):
                had = "with" if fit.monitored else "without"
                raise ValueError(f"monitor: {os.fspath(path)} is of a fit {had} one; give the same")
            target = None if fit.checkpoint_every is None else path
            trainer._run_fit(fit, state.history, prepared, monitor, callback, progress, target)
        return trainer

    def _run_fit(self, fit, history, prepared, monitor, callback, progress, checkpoint):
        """Train until the fit is over, say what went wrong, and return the history."""
        state, save = self._state, None
        if checkpoint is not None:
            files.check_place(checkpoint)
            save = partial(self.save_checkpoint, checkpoint)
        fitting.train(
            *(state, fit, history, prepared),
            **dict(monitor=monitor, callback=callback, progress=progress, save=save),
        )
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
        if save is not None and history.stop_reason != "interrupted":
            save()
        if state.scaling is not None:
            lost = fitting.lost_in_folding(state.network, state.published[1], state.scaling, *prepared.given)
            if lost:
                warnings.warn(lost, RuntimeWarning, stacklevel=3)
        return history
