"""One fit: the compiled loop, and what happens between its epochs."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from fastmlp import _checks, _extras, kernels, optimizers, penalties, scaling, schedules
from fastmlp.network import MLP
from fastmlp.training.data import log_means

MAX_EPOCHS_PER_CALL = 1024  # of the compiled loop
ROWS_COMPARED = 4096  # at most, when the folded network is compared with the standardised one

# The fits in progress, by (process, network): a child that is forked meanwhile has none. dict.setdefault is
# one step for all threads, also without the GIL.
_active_fits: dict[tuple[int, int], Fitting] = {}


def train(state, fit, history, data, *, monitor=None, callback=None, progress=False, save=None):
    """Train until the fit is over.

    Parameters
    ----------
    state : FitState
        Changed: its network, too.
    fit, history : Fit, History
        New ones, or those of a checkpoint.
    data : FitData
    monitor, callback, progress
        As in `Trainer.fit`.
    save : callable, optional
        ``save()`` writes a checkpoint.
    """
    for name, function in (("callback", callback), ("monitor", monitor)):
        if function is not None and not callable(function):
            raise TypeError(f"{name}: must be callable, got {type(function).__name__}")
    if monitor is not None and data.validation is None:
        raise ValueError("monitor: needs validation_data, of which it judges the predictions")
    fitting, key = (
        Fitting(state, fit, history, data, monitor, callback, save),
        (os.getpid(), id(state.network)),
    )
    try:
        if _active_fits.setdefault(key, fitting) is not fitting:
            raise RuntimeError(
                "network: it is already being fitted; wait for that fit to finish, or fit a copy"
            )
        fitting.begin(progress)
        fitting.train()
    finally:  # no calls: Python raises what a signal has to raise after one, and the entry would stay
        try:
            if _active_fits[key] is fitting:
                state.fit = None
                del _active_fits[key]
        except KeyError:  # another's, just gone
            pass


def take_over(network):
    """Have a fit of this network that is in progress continue from the parameters as they are now."""
    fitting = _active_fits.get((os.getpid(), id(network)))
    if fitting is not None:
        fitting.take_over()


class Fitting:
    """A fit in progress: what it trains and tells, and the compiled loop that does it."""

    def __init__(self, state, fit, history, data, monitor, callback, save) -> None:
        self.state, self.fit, self.history, self.data = state, fit, history, data
        self.monitor, self.callback, self.save = monitor, callback, save
        self.loop = None
        self.published = False  # whether the network has what is being trained; before, nobody can change it
        self.changed = False  # whether somebody has

    def begin(self, progress):
        """Make everything ready; the state changes at the end, when nothing can fail any more."""
        state, fit, data, net = self.state, self.fit, self.data, self.state.network
        if not net.parameters.flags.writeable:
            raise ValueError("network: its parameters are read-only (memory-mapped?); give it a copy of them")
        if not state.moments.flags.writeable:  # of an unpickled trainer: joblib maps large arrays
            state.moments = state.moments.copy()
        self.bar = _progress_bar(fit.epochs, fit.epoch) if progress else nullcontext()
        if fit.parameters is None:
            fit.parameters = _starting_parameters(state, data.scaling)
            if data.is_first:
                weights = kernels.split_parameters(fit.parameters, net.sizes)
                scaling.clear_constant(weights[0], data.scaling)
                if net.objective.starts_at_log_mean and not net.trained:
                    weights[-1][-1] = log_means(*data.given[1:])
            fit.best = fit.parameters.copy()
        published = state.published
        if published is None and data.scaling is not None:
            published = np.full((2, net.parameters.size), np.nan, net.dtype)
        self.loop = self.new_loop(data.scaling, published)
        net.feature_names, net.target_names = (
            new or old for new, old in zip(data.names, (net.feature_names, net.target_names), strict=True)
        )
        # these change together: no calls, so that no signal comes between
        state.scaling, state.published, state.fingerprints = data.scaling, published, data.fingerprints
        state.history, state.fit = self.history, fit

    def new_loop(self, measured, published):
        """The compiled loop, for the settings as they are."""
        state, settings, net = self.state, self.state.settings, self.state.network
        X, Y, _ = self.data.training
        scale = None if measured is None else measured.scale_y
        network = kernels.compiled(
            net.sizes, net.activations, net.dtype, net.objective, Y.shape[1], scale, state.caches
        )
        baseline = net.objective.baseline(Y, net.sizes[-1])
        if scale is not None and net.objective.degree is not None:
            baseline *= float(np.mean(scale**net.objective.degree))
        shared = settings.shuffle and state.shares_bit_generator
        return kernels.fit_loop(net.dtype)(
            network,
            self.data.training,
            self.data.validation,
            state,
            self.fit,
            self.history,
            None if measured is None else (*scaling.parts(measured), published),
            optimizer=optimizers.compiled(
                settings.optimizer,
                penalty=penalties.resolve(settings.l2),
                clip_norm=settings.clip_norm,
                steps=state.steps,
                velocity_rate=state.velocity_rate,
            ),
            schedule=schedules.compiled(settings.schedule),
            batch_size=settings.batch_size or len(X),
            bit_generator=state.bit_generator if settings.shuffle else None,
            lock=state.bit_generator.lock if shared else None,
            baseline_loss=baseline,
            threads=settings.n_threads,
        )

    def train(self):
        """Train until there is a reason to stop, and leave everything as the end of a fit wants it."""
        history = self.history
        if self.save and not self.fit.epoch:
            self.save()
        try:
            with self.bar as bar:
                reason = self.epochs(bar)
            history.stop_reason = reason  # only now: closing the bar can fail
        except KeyboardInterrupt:
            history.stop_reason = "interrupted"
        finally:
            # One compiled step: whatever a signal has to raise, Python raises when it is done.
            self.loop.finish()

    def epochs(self, bar):
        """Train until there is a reason to stop, and return it."""
        fit, history, every = self.fit, self.history, self.fit.checkpoint_every or MAX_EPOCHS_PER_CALL
        at_once = 1 if self.callback or self.monitor else MAX_EPOCHS_PER_CALL
        # a checkpoint of a callback in the last epoch may be one that is out of patience
        out_of_patience = fit.patience and fit.epoch - fit.improved_epoch > fit.patience
        reason = "patience" if out_of_patience else None
        while reason is None:
            before = fit.epoch
            reason = self.loop.run(min(at_once, every - before % every))
            done = fit.epoch - before
            due = self.save and done and fit.epoch % every == 0
            if done and (self.callback or due or self.monitor):
                self.published = True
                self.loop.publish()
            if self.monitor and done and reason != "diverged":
                reason = self.loop.judge(self.monitored()) or reason
            if bar and done:
                bar.update(done)
                bar.set_postfix(loss=f"{history.loss[-1]:.4g}", refresh=False)
            if self.callback and done:
                reason = self.call_back(reason)
            if due and reason is None:
                self.save()
        return reason

    def monitored(self):
        """The monitor's value for the network as it is."""
        X, Y, w = self.data.given_validation
        if w is not None and not w.all():
            X, Y = X[w > 0], Y[w > 0]
        y = Y[:, 0] if Y.shape[1] == 1 else Y
        prediction = self.state.network.predict(X, n_threads=self.state.settings.n_threads)
        return _checks.number("monitor: its result", self.monitor(y, prediction), -np.inf, np.inf)

    def call_back(self, reason):
        """Call the callback, and have the loop follow what it has changed; return the reason to stop."""
        state = self.state
        before = state.settings
        if _says_stop(self.callback(self.fit.epoch - 1, self.history)) and reason is None:
            reason = "callback"
        self.take_over()
        if (self.changed or state.settings != before) and reason != "diverged":
            rate = state.settings.optimizer.learning_rate
            same = replace(before, optimizer=replace(before.optimizer, learning_rate=rate))
            if not self.changed and state.settings == same:
                self.loop.learning_rate = rate
            else:
                self.loop, self.changed = self.new_loop(state.scaling, state.published), False
        return reason

    def take_over(self):
        """Continue with what a callback has made of the network's parameters since they were published."""
        state, fit = self.state, self.fit
        if not self.published or self.loop.is_published():
            return
        fit.parameters[:] = _starting_parameters(state, state.scaling)
        if state.scaling is not None:
            state.published[:] = state.network.parameters, fit.parameters
        self.changed = True


def _starting_parameters(state, measured):
    """A copy of the network's parameters, as the training data need them."""
    net = state.network
    if measured is None:
        return net.parameters.copy()
    if state.published is not None and np.array_equal(net.parameters, state.published[0]):
        return state.published[1].copy()  # to the bit where the last fit stopped
    parameters = net.parameters.copy()
    if net.trained:
        scaling.unfold(kernels.split_parameters(parameters, net.sizes), measured)
    return parameters


def _says_stop(answer):
    """Whether a callback's answer is to stop: True."""
    if answer is None or isinstance(answer, bool | np.bool_):
        return bool(answer)
    raise TypeError(
        f"callback: must return True to stop, False or None to continue, got {type(answer).__name__} "
        f"{answer!r:.40}; end it with `return None`"
    )


def _progress_bar(epochs, done):
    try:
        return _extras.progress_bar(epochs, done)
    except ModuleNotFoundError as error:
        raise _extras.missing(error, "progress=True", "progress") from None


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
        f" next to its values (mean / standard deviation: {ratio:.3g}); use {wider}values less their mean,"
        " in a larger or smaller unit if they are extreme"
    )
