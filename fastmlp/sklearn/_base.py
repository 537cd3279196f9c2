"""What both estimators do: scikit-learn's parameters, the solvers, and the curves of a fit.

scikit-learn adds up the gradients of a row's outputs, and reports half the squared error (`as_in_sklearn`);
its penalty alpha/2 times the squared weights is divided by the rows of a batch (`fastmlp.penalties.L2`);
everything else is a matter of names.
"""

from __future__ import annotations

import sys
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastmlp import _checks, _extras, activations, kernels, objectives, scaling
from fastmlp.network import MLP
from fastmlp.optimizers import SGD, Adam
from fastmlp.penalties import L2
from fastmlp.training.fitting import lost_in_folding
from fastmlp.training.trainer import Trainer

try:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise _extras.missing(error, "fastmlp.sklearn", "sklearn") from None

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for that of scikit-learn 1.9."""

    def with_callbacks(method):
        """Return the method: there are no callbacks."""
        return method


if TYPE_CHECKING:
    from typing import Self

SMALL = 10_000  # numbers that are looked at in less time than the checks take
SOLVERS = ("lbfgs", "sgd", "adam")
SCHEDULES = ("constant", "invscaling", "adaptive")
MIN_LEARNING_RATE = 1e-6  # the learning rate at which "adaptive" gives up
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    "preprocessed. Scale them, set standardize=True, or lower learning_rate_init."
)
FITTED = (  # attributes that both estimators have, besides the weights
    *("n_features_in_", "feature_names_in_", "n_outputs_", "n_layers_", "out_activation_"),
    *("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_"),
    *("best_validation_score_", "_no_improvement_count", "classes_", "_label_binarizer"),
)
OUT_ACTIVATIONS = {"sorted": "identity"}  # scikit-learn's names of links, where they are others
THEIR_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
THEIR_LOSSES = ("squared_error", "poisson", "binary_log_loss", "log_loss")


def loss_factor(objective, outputs):
    """Scikit-learn's loss as a multiple of the objective's; of objectives that it has not, 1."""
    return {"squared_error": 0.5, "poisson": outputs, "binary_log_loss": outputs}.get(objective.name, 1)


class _OutputsAddedUp:
    """Scikit-learn's loss, and its gradient: that of the sum over the outputs, also of the squared error."""

    def compiled(self, outputs, columns, scale=None):
        """The argument `objective` of kernels' CompiledNetwork."""
        name, link, columns, averaged, slope, _, *rest = super().compiled(outputs, columns, scale)
        slope *= outputs / 2 if name == "squared_error" else outputs
        return name, link, columns, averaged, slope, float(loss_factor(self, outputs)), *rest


class _SquaredError(_OutputsAddedUp, objectives.SquaredError):
    pass


class _Poisson(_OutputsAddedUp, objectives.Poisson):
    pass


class _BinaryLogLoss(_OutputsAddedUp, objectives.BinaryLogLoss):
    pass


def as_in_sklearn(objective):
    """The objective with scikit-learn's loss and gradient, where it has it."""
    for theirs in (_SquaredError, _Poisson, _BinaryLogLoss):
        if objective.name == theirs.name:
            return theirs(**asdict(objective))
    return objective


class _SGD(SGD):
    """scikit-learn's: when the learning rate changes, the velocity keeps the one it was gained with."""

    rate_in_velocity = True


class MLPBase(CallbackSupportMixin, BaseEstimator, ABC):
    """What the estimators share; each has its parameters, and what depends on its kind of targets."""

    _theirs: ClassVar[Any]  # scikit-learn's estimator of the same name

    @property
    def _optimizer(self):
        return self._trainer.optimizer

    @abstractmethod
    def _objective(self):
        """That of `network_`, by the parameters and, of a classifier, the classes."""

    @abstractmethod
    def _validated(self, X, y, reset):
        """X, and the targets Y (n, columns) as the objective takes them.

        With `reset` sets what fitting learns of them; None: they are validation data.
        """

    @abstractmethod
    def _n_outputs(self, Y):
        """Outputs of the network."""

    @abstractmethod
    def _score_of(self, net, X, Y, sample_weight):
        """The score of `score`, without its checks."""

    @abstractmethod
    def _check_scores(self, name, Y, sample_weight):
        """Raise where the score of validation data says nothing: the first weights would be kept."""

    def _strata(self, Y):
        """What train_test_split stratifies by, or None."""
        return None

    @property
    def coefs_(self):
        """The weights of each layer without their bias rows: views into `network_`."""
        return tuple(W[:-1] for W in self.network_.weights)

    @coefs_.setter
    def coefs_(self, coefs):
        _set_each("coefs_", [W[:-1] for W in self.network_.weights], coefs)

    @property
    def intercepts_(self):
        """The bias row of each layer: views into `network_`."""
        return tuple(W[-1] for W in self.network_.weights)

    @intercepts_.setter
    def intercepts_(self, intercepts):
        _set_each("intercepts_", [W[-1] for W in self.network_.weights], intercepts)

    def _fit(self, X, y, sample_weight, X_val, y_val, sample_weight_val):
        hidden = self._check_parameters()
        again = self.warm_start and hasattr(self, "network_")
        random = check_random_state(self.random_state)
        with self._unchanged_by_errors():
            X, Y, w = self._checked(X, y, sample_weight, reset=not again)
            validation = self._validation_data(X_val, y_val, sample_weight_val, Y.shape[1])
        if validation is not None:
            columns = getattr(self, "feature_names_in_", range(X.shape[1]))
            _warn_if_elsewhere("X_val", columns, X, validation[0])
            if self._objective().degree is not None:
                _warn_if_elsewhere("y_val", range(Y.shape[1]), Y, validation[1])
        if not again:
            self._initialize(X, Y, hidden, random)
        with self._callbacks(X, y, w) as hook:
            if self.solver == "lbfgs":
                self._fit_lbfgs(X, Y, w, validation, hook)
                return self
            if self.early_stopping and validation is None:
                X, Y, w, validation = self._split_validation(X, Y, w, random)
            self._trainer = self._new_trainer(X, w, random)
            self._fit_epochs(X, Y, w, validation, hook, self.max_iter)
        if self.n_iter_ == self.max_iter and not self._stopped:
            _warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        return self

    def _partial_fit(self, X, y, sample_weight, **more):
        hidden = self._check_parameters()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        again = hasattr(self, "network_")
        with self._unchanged_by_errors():
            X, Y, w = self._checked(X, y, sample_weight, reset=not again, **more)
        random = check_random_state(self.random_state)
        if not again:
            self._initialize(X, Y, hidden, random)
        if getattr(self, "_trainer", None) is None:
            self._trainer = self._new_trainer(X, w, random)
        else:
            self._trainer.batch_size = self._batch_size(X)
        self._trainer.l2 = L2(self.alpha, per_row=True)
        self._fit_epochs(X, Y, w, None, None, 1)
        return self

    def _predictions(self, X):
        """Those of `network_`, float32 where X and the weights are, else float64."""
        net = getattr(self, "network_", None)
        if net is None or not self._is_plain(X, net):
            check_is_fitted(self, "network_")
            X = validate_data(self, X, dtype=(np.float64, np.float32), order="C", reset=False)
        if net.dtype < X.dtype:
            net = MLP._like(net.parameters, net.sizes, net.activations, net.objective, X.dtype)
        return net.predict(X, n_threads=self.n_threads)

    def _is_plain(self, X, net):
        """Whether X needs none of scikit-learn's checks, which take 200 us: a few numbers, all finite."""
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float64, np.float32)
            and X.ndim == 2
            and X.shape[1] == net.sizes[0]
            and 0 < X.size < SMALL
            and not hasattr(self, "feature_names_in_")
            and np.isfinite(X).all()
        )

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Self:
        """Return a fitted estimator with the parameters, and copies of the weights, of one of scikit-learn's.

        Parameters
        ----------
        estimator : estimator of the same name in `sklearn.neural_network`
            Fitted.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            It is none.

        Examples
        --------
        >>> import numpy as np, sklearn.neural_network
        >>> from fastmlp.sklearn import MLPRegressor
        >>> X = np.array([[0.0], [1.0], [2.0]])
        >>> theirs = sklearn.neural_network.MLPRegressor(hidden_layer_sizes=(5, 3), solver="lbfgs")
        >>> theirs = theirs.fit(X, X[:, 0])
        >>> np.allclose(MLPRegressor.from_sklearn(theirs).predict(X), theirs.predict(X))
        True
        """
        if not isinstance(estimator, cls._theirs):
            raise TypeError(
                f"estimator: must be a sklearn.neural_network.{cls._theirs.__name__}, "
                f"got {type(estimator).__name__}"
            )
        check_is_fitted(estimator)
        ours = cls(**estimator.get_params())
        _copy_fitted(estimator, ours)
        hidden = ours._check_parameters()
        sizes = len(estimator.coefs_[0]), *hidden, estimator.n_outputs_
        names = activations.resolve(ours.activation, len(hidden))
        ours.network_ = MLP._like(None, sizes, names, ours._objective(), estimator.coefs_[0].dtype)
        ours.coefs_, ours.intercepts_ = estimator.coefs_, estimator.intercepts_
        ours.network_.trained = True
        ours.validation_loss_curve_ = None
        return ours

    def to_sklearn(self) -> Any:
        """Return scikit-learn's estimator of the same name, fitted, with copies of the weights.

        Raises
        ------
        ValueError
            scikit-learn has not this activation or loss.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp.sklearn import MLPRegressor
        >>> X = np.array([[0.0], [1.0], [2.0]])
        >>> ours = MLPRegressor(hidden_layer_sizes=(5, 3), solver="lbfgs").fit(X, X[:, 0])
        >>> np.allclose(ours.to_sklearn().predict(X), ours.predict(X))
        True
        """
        check_is_fitted(self, "network_")
        net, theirs = self.network_, self._theirs()
        names = set(net.activations)
        if len(names) > 1 or not names <= set(THEIR_ACTIVATIONS):
            raise ValueError(
                f"activation: scikit-learn has one of {', '.join(THEIR_ACTIVATIONS)} for all hidden layers, "
                f"and this network {net.activations}"
            )
        if net.objective.name not in THEIR_LOSSES:
            raise ValueError(f"loss: scikit-learn has no {net.objective.name}")
        theirs.set_params(**{name: getattr(self, name) for name in theirs.get_params()})
        theirs.set_params(activation=names.pop() if names else "relu")
        theirs.coefs_ = [coef.copy() for coef in self.coefs_]
        theirs.intercepts_ = [intercept.copy() for intercept in self.intercepts_]
        theirs._best_coefs, theirs._best_intercepts = deepcopy((theirs.coefs_, theirs.intercepts_))
        _copy_fitted(self, theirs)
        return theirs

    def _check_parameters(self):
        """Raise where a parameter is wrong; return the units of each hidden layer."""
        _one_of("solver", self.solver, SOLVERS)
        _one_of("learning_rate", self.learning_rate, SCHEDULES)
        for name in ("alpha", "power_t", "tol"):
            _checks.number(name, getattr(self, name), 0, np.inf)
        self._check_rates(np.float64)
        for name in ("max_iter", "max_fun"):
            _checks.integer(name, getattr(self, name))
        if self.n_threads is not None:
            _checks.integer("n_threads", self.n_threads)
        if self.n_iter_no_change != np.inf:
            _checks.integer("n_iter_no_change", self.n_iter_no_change)
        if self.early_stopping:
            fraction = self.validation_fraction
            _checks.number("validation_fraction", fraction, 0, 1, open_low=True, open_high=True)
        if self.batch_size != "auto":
            _checks.integer("batch_size", self.batch_size)
        hidden = self.hidden_layer_sizes
        hidden = tuple(hidden) if np.iterable(hidden) else (hidden,)
        hidden = tuple(_checks.integer("hidden_layer_sizes", units) for units in hidden)
        activations.resolve(self.activation, len(hidden))
        if self.warm_start and hasattr(self, "network_") and self.network_.sizes[1:-1] != hidden:
            raise ValueError(
                f"hidden_layer_sizes: {hidden}, and warm_start continues with the "
                f"{self.network_.sizes[1:-1]} hidden units there are; give those, or clone the estimator"
            )
        return hidden

    def _check_rates(self, dtype):
        """Raise where a number that the optimizer calculates with is out of its range, as a dtype has it."""
        for name in ("learning_rate_init", "epsilon"):
            _checks.number(name, getattr(self, name), 0, np.inf, open_low=True, dtype=dtype)
        for name in ("beta_1", "beta_2", "momentum"):
            _checks.number(name, getattr(self, name), 0, 1, open_high=True, dtype=dtype)

    @contextmanager
    def _unchanged_by_errors(self):
        """What is learnt of data that are refused afterwards (classes, names) does not fit the network."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _checked(self, X, y, sample_weight, reset, **more):
        """(X, Y, w); Y is (n, columns)."""
        X, Y = self._validated(X, y, reset, **more)
        if not reset and not self.network_.parameters.flags.writeable:  # joblib maps large arrays into memory
            self.network_.parameters = self.network_.parameters.copy()
        return X, Y, self._weights(sample_weight, X, y)

    def _weights(self, sample_weight, X, y):
        return None if sample_weight is None else _check_sample_weight(sample_weight, X)

    def _dtypes(self):
        """That of validated X."""
        return (np.float64, np.float32) if self.dtype is None else _checks.dtype_of_network(self.dtype)

    def _validation_data(self, X, y, sample_weight, columns):
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError(
                f"{'X_val' if X is None else 'y_val'}: needed too, as X_val and y_val go together"
            )
        X, Y = self._validated(X, y, reset=None)
        if Y.shape[1] != columns:
            raise ValueError(f"y_val: must have {columns} outputs, as y has, got {Y.shape[1]}")
        w = _checks.sample_weights("sample_weight_val", sample_weight, X.dtype, rows=len(X))
        if self.early_stopping and self.solver != "lbfgs":
            self._check_scores("y_val", Y, w)
        return X, Y, w

    def _split_validation(self, X, Y, w, random):
        """(X, Y, w) without the rows of a validation set, and that set; rows of weight 0 are in neither."""
        if w is not None and not w.all():
            X, Y, w = X[w > 0], Y[w > 0], w[w > 0]
        arrays = [array for array in (X, Y, w) if array is not None]
        parts = train_test_split(
            *arrays, random_state=random, test_size=self.validation_fraction, stratify=self._strata(Y)
        )
        training, validation = parts[::2], parts[1::2]
        if len(validation[0]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        if (Y[0] != Y).any():  # else any weights are as good
            self._check_scores("validation_fraction", validation[1], None)
        return *training, *[None] * (w is None), (*validation, *[None] * (w is None))

    def _initialize(self, X, Y, hidden, random):
        """A new network, with scikit-learn's starting weights, and nothing recorded yet."""
        sizes = X.shape[1], *hidden, self._n_outputs(Y)
        names = activations.resolve(self.activation, len(hidden))
        self.network_ = MLP._like(None, sizes, names, self._objective(), self.dtype or X.dtype)
        for W, name in zip(self.network_.weights, (*names, names[-1] if names else None), strict=True):
            inputs, outputs = len(W) - 1, W.shape[1]
            bound = np.sqrt((2 if name == "logistic" else 6) / (inputs + outputs))
            W[:-1] = random.uniform(-bound, bound, (inputs, outputs))
            W[-1] = random.uniform(-bound, bound, outputs)
        if hasattr(self, "feature_names_in_"):
            self.network_.feature_names = tuple(self.feature_names_in_)
        self.n_outputs_ = sizes[-1]
        self.n_layers_ = len(sizes)
        link = self.network_.objective.link_name
        self.out_activation_ = OUT_ACTIVATIONS.get(link, link)
        self.n_iter_ = self.t_ = 0
        self.loss_curve_ = []
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_ = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None
        self.validation_loss_curve_ = None
        self._no_improvement_count = 0
        self._trainer = None

    def _new_trainer(self, X, w, random):
        self._check_rates(self.network_.dtype)
        if self.solver == "adam":
            optimizer = Adam(self.learning_rate_init, self.beta_1, self.beta_2, eps=self.epsilon)
        else:
            nesterov = bool(self.nesterovs_momentum and self.momentum)
            optimizer = _SGD(self.learning_rate_init, self.momentum, nesterov)
        return Trainer(
            self._twin(),
            optimizer,
            batch_size=self._batch_size(X),
            l2=L2(self.alpha, per_row=True),
            shuffle=self.shuffle,
            seed=random.randint(np.iinfo(np.int32).max),
            n_threads=self.n_threads,
            standardize=self.standardize,
        )

    def _twin(self):
        """The network with scikit-learn's objective; its parameters are those of `network_`."""
        net = self.network_
        twin = MLP._like(None, net.sizes, net.activations, as_in_sklearn(net.objective), net.dtype)
        twin._parameters, twin.trained = net._parameters, net.trained
        return twin

    def _batch_size(self, X):
        if self.batch_size != "auto" and self.batch_size > len(X):
            _warn(f"batch_size: {self.batch_size} is more than the {len(X)} rows of X, and is clipped")
        return min(200 if self.batch_size == "auto" else self.batch_size, len(X))

    def _fit_epochs(self, X, Y, w, validation, hook, epochs):
        """Train until there is a reason to stop; the learning rate changes between epochs."""
        trainer = self._trainer
        if trainer.network._parameters is not self.network_._parameters:  # as after pickling
            trainer.network._parameters = self.network_._parameters
        trainer.network.trained = self.network_.trained
        if validation is not None and self.validation_loss_curve_ is None:
            self.validation_loss_curve_ = []
        self.n_iter_ = 0
        self._stopped = False
        if self.early_stopping and self.validation_scores_ is None:  # switched on or off between warm starts
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf
        self._batches_per_weight = -(-len(X) // trainer.batch_size) / (len(X) if w is None else w.sum())
        best = None

        def after_epoch(_, history):
            nonlocal best
            self.n_iter_ += 1
            self.t_ += len(X)
            self._record(history.loss[-1], validation)
            if self.early_stopping and validation is not None:
                improved = self._update_best_score()
                best = self.network_.parameters.copy() if improved else best
            else:
                self._update_best_loss()
            self._stopped = hook is not None and bool(hook())
            self._stopped = self._stopped or self._update_learning_rate(trainer)
            return self._stopped

        reason = trainer.fit(X, Y, epochs, sample_weight=w, callback=after_epoch).stop_reason
        self.network_.trained = trainer.network.trained
        if reason == "diverged" and not self.loss_curve_:
            raise ValueError(NOT_FINITE)
        if reason == "diverged" and self.early_stopping:
            self.validation_scores_.append(float("nan"))
        self._stopped = self._stopped or reason in ("diverged", "interrupted")
        if reason == "interrupted":
            _warn("Training interrupted by user.")
        if best is not None:
            self.network_.parameters[:] = best

    def _record(self, loss, validation):
        """Add an epoch to the curves."""
        penalty = 0.0
        if not self.standardize:
            penalty = self.alpha * self._batches_per_weight / 2 * _squares(self.network_)
        self.loss_ = loss + penalty
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if validation is not None:
            factor = loss_factor(self.network_.objective, self.n_outputs_)
            self.validation_loss_curve_.append(self.network_.loss(*validation) * factor)
            if self.early_stopping:
                self.validation_scores_.append(self._score_of(self.network_, *validation))
                if self.verbose:
                    print(f"Validation score: {self.validation_scores_[-1]:f}")

    def _update_best_loss(self):
        degree = self.network_.objective.degree or 0
        unit = np.mean(self._trainer.scaling.scale_y**degree) if self.standardize else 1
        self._count_no_improvement(self.loss_ <= self.best_loss_ - self.tol * unit)
        self.best_loss_ = min(self.loss_, self.best_loss_)

    def _update_best_score(self):
        """Whether the last validation score is the best."""
        score, best = self.validation_scores_[-1], self.best_validation_score_
        self._count_no_improvement(score >= best + self.tol)
        self.best_validation_score_ = max(score, best)
        return score > best

    def _count_no_improvement(self, improved):
        self._no_improvement_count = 0 if improved else self._no_improvement_count + 1

    def _update_learning_rate(self, trainer):
        """Set the learning rate of the next epoch; whether to stop."""
        stop = False
        rate = new = trainer.optimizer.learning_rate
        if self.solver == "sgd" and self.learning_rate == "invscaling":
            new = self.learning_rate_init / (self.t_ + 1) ** self.power_t
        if self._no_improvement_count > self.n_iter_no_change:
            adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
            stop = not adaptive or rate <= MIN_LEARNING_RATE
            if not stop:
                self._no_improvement_count, new = 0, rate / 5
            if self.verbose:
                what = "Validation score" if self.early_stopping else "Training loss"
                then = f"Setting learning rate to {new:f}"
                if stop:
                    then = "Learning rate too small. Stopping." if adaptive else "Stopping."
                print(
                    f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
                    f"consecutive epochs. {then}"
                )
        if new != rate:
            trainer.learning_rate = new
        return stop

    def _fit_lbfgs(self, X, Y, w, validation, hook):
        from scipy.optimize import minimize  # scikit-learn needs SciPy, but this module only here

        raw = self.network_
        scales, objective = None, raw.objective
        if self.standardize:
            scales = scaling.fit_scaling(X, Y, w, objective, raw.sizes[-1])
            if objective.degree is not None:
                objective = objective.standardized(scales.scale_y)
        net = MLP._like(raw.parameters, raw.sizes, raw.activations, objective, "float64")
        factor = loss_factor(objective, self.n_outputs_)
        data = X, Y, w
        if self.standardize:
            data = *scaling.transform(X, Y, scales), w
            if raw.trained:
                scaling.unfold(net.weights, scales)
            scaling.clear_constant(net.weights[0], scales)
        penalty = self.alpha / (len(X) if w is None else w.sum())

        def loss_and_gradient(parameters):
            net.parameters[:] = parameters
            loss, gradients = net.loss_and_gradients(*data)
            for W, dW in zip(net.weights, gradients, strict=True):
                dW *= factor
                dW[:-1] += penalty * W[:-1]
            gradient = np.concatenate([dW.ravel() for dW in gradients])
            return loss * factor + penalty / 2 * _squares(net), gradient

        def publish(parameters):
            parameters = np.array(parameters)
            if self.standardize:
                scaling.fold(kernels.split_parameters(parameters, net.sizes), scales)
            raw.parameters[:] = parameters
            raw.trained = True

        latest, latest_loss = net.parameters.copy(), np.nan

        def after_iteration(intermediate_result):
            nonlocal latest_loss
            latest[:], latest_loss = intermediate_result.x, float(intermediate_result.fun)
            self.n_iter_ += 1
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {intermediate_result.fun:.8f}")
            if validation is not None or hook is not None:
                publish(intermediate_result.x)
            if validation is not None:
                self.validation_loss_curve_.append(raw.loss(*validation) * factor)
            if hook is not None and hook():
                raise StopIteration

        self.validation_loss_curve_ = None if validation is None else []
        self.n_iter_ = 0
        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        try:
            found = minimize(
                loss_and_gradient,
                net.parameters.copy(),
                method="L-BFGS-B",
                jac=True,
                options=options,
                callback=after_iteration,
            )
        except KeyboardInterrupt:  # no other pass over the data: it may take long
            publish(latest)
            if self.standardize:
                net.parameters[:] = latest
                same = net.sizes[-1] == 1 or not objective.degree  # one unit for all outputs
                unit = scales.scale_y[0] ** (objective.degree or 0) if same else np.nan
                latest_loss = (latest_loss - penalty / 2 * _squares(net)) * unit
            self.loss_ = latest_loss
            _warn("Training interrupted by user.")
            return
        if not np.isfinite(found.x).all():
            raise ValueError(NOT_FINITE)
        publish(found.x)
        self.loss_ = raw.loss(X, Y, w) * factor if self.standardize else loss_and_gradient(found.x)[0]
        self.n_iter_ = found.nit
        if self.standardize:
            net.parameters[:] = found.x
            lost = lost_in_folding(raw, net.parameters, scales, X, Y, w)
            if lost:
                _warn(lost, RuntimeWarning)
        if found.status != 0 and "StopIteration" not in found.message:
            _warn(
                f"lbfgs failed to converge after {found.nit} iterations (status {found.status}): "
                f"{found.message}. Increase max_iter or max_fun, or scale the data (standardize=True)",
                ConvergenceWarning,
            )

    @contextmanager
    def _callbacks(self, X, y, w):
        """A function to call after each epoch, which says whether to stop; None where nobody listens.

        on_fit_task_begin of an epoch is called at its end, right before on_fit_task_end: the loop says that
        an epoch is over, not that one begins.
        """
        if not hasattr(self, "_init_callback_context"):
            yield None
            return
        told = {"estimator": self, "X": X, "y": y}
        told["metadata"] = None if w is None else {"sample_weight": w}
        fitted = {"reconstruction_attributes": lambda: {"network_": deepcopy(self.network_)}}
        task = self._init_callback_context(max_subtasks=self.max_iter)

        def hook():
            epoch = task.subcontext(task_name="epoch")
            epoch.call_on_fit_task_begin(**told)
            return epoch.call_on_fit_task_end(**told, **fitted)

        task.call_on_fit_task_begin(**told)
        yield hook if getattr(self, "_skl_callbacks", None) else None
        task.call_on_fit_task_end(**told, **fitted)


def _one_of(name, value, taken):
    if value not in taken:
        raise ValueError(f"{name}: must be one of {', '.join(map(repr, taken))}, got {value!r}")


def _warn(message, category=UserWarning):
    """Warn, at the line of the caller's code, whatever lies between."""
    frame, level = sys._getframe(1), 1
    internal = "fastmlp.", "sklearn."
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(internal):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _squares(net):
    """The sum of the squared weights, without the bias rows."""
    # vdot: NumPy's sum of squares took 7 of the 17 µs that an epoch of 20 rows and 4 units lasted
    return sum(float(np.vdot(W[:-1], W[:-1])) for W in net.weights)


def _set_each(name, arrays, values):
    """Give arrays of a fitted estimator new values, all or none; no value is stretched to another shape."""
    values = [np.asarray(value) for value in values]
    shapes = [array.shape for array in arrays]
    if [value.shape for value in values] != shapes:
        raise ValueError(
            f"{name}: must be arrays of shapes {shapes}, got {[value.shape for value in values]}"
        )
    for array, value in zip(arrays, values, strict=True):
        array[:] = value


def _warn_if_elsewhere(name, columns, training, validation):
    """Warn where half of a column's validation values are farther from the others than these are wide.

    So it looks where a pipeline has scaled X, or TransformedTargetRegressor y, and not the validation data.
    """
    low, high = training.min(axis=0), training.max(axis=0)
    width, middle = high - low, np.median(validation, axis=0)
    away = (width > 0) & ((middle < low - width) | (middle > high + width))
    if away.any():
        j = int(np.argmax(away))
        which, remedy = ("y", "transform y_val as y") if name == "y_val" else ("X", "transform X_val as X")
        if name == "X_val":
            remedy += ", in a Pipeline by transform_input=['X_val']"
        _warn(
            f"{name}: half of column {columns[j]!r} is beyond {middle[j]:.3g}, and {which} has "
            f"{low[j]:.3g} to {high[j]:.3g} there; is it of the same scale? Else {remedy}"
        )


def _copy_fitted(source, target):
    for name in FITTED:
        if hasattr(source, name):
            setattr(target, name, deepcopy(getattr(source, name)))
