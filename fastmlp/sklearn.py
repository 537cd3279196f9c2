"""MLPRegressor: a drop-in for ``sklearn.neural_network.MLPRegressor`` (extra ``sklearn``).

scikit-learn's loss is half of ours, and its gradient is not divided by the outputs (`_SquaredError`); its
penalty alpha/2 times the squared weights is divided by the rows of a batch (`fastmlp.penalties.L2`);
everything else is a matter of names.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks, _extras, kernels, objectives, scaling
from fastmlp.network import MLP
from fastmlp.optimizers import SGD, Adam
from fastmlp.penalties import L2
from fastmlp.training.fitting import lost_in_folding
from fastmlp.training.trainer import Trainer

try:
    import sklearn.neural_network
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.metaestimators import available_if
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

    from numpy.typing import ArrayLike

SOLVERS = ("lbfgs", "sgd", "adam")
SCHEDULES = ("constant", "invscaling", "adaptive")
MIN_LEARNING_RATE = 1e-6  # the learning rate at which "adaptive" gives up
FITTED = (  # attributes that both estimators have, besides the weights
    *("n_features_in_", "feature_names_in_", "n_outputs_", "n_layers_", "out_activation_"),
    *("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_"),
    *("best_validation_score_", "_no_improvement_count"),
)


class _SquaredError(objectives.SquaredError):
    """scikit-learn's: it reports half the mean, and its gradient is that of half the sum over the outputs."""

    def compiled(self, outputs, columns, scale=None):
        """The argument `objective` of kernels' CompiledNetwork."""
        name, link, columns, averaged, _, _, *rest = super().compiled(outputs, columns, scale)
        return name, link, columns, averaged, float(outputs), 0.5, *rest


class _SGD(SGD):
    """scikit-learn's: when the learning rate changes, the velocity keeps the one it was gained with."""

    rate_in_velocity = True


class MLPRegressor(CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """``sklearn.neural_network.MLPRegressor`` with one hidden layer of ReLU units, trained by fastmlp.

    Parameters have the names, meanings and defaults of scikit-learn's; only what differs is described here.

    Parameters
    ----------
    loss : {"squared_error"}
    hidden_layer_sizes : int or (int,)
        One hidden layer.
    activation : {"relu"}
    solver : {"adam", "sgd", "lbfgs"}
        "lbfgs" is SciPy's L-BFGS-B on all weights, in float64 whatever `dtype` is.
    alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol, \
verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, \
epsilon, n_iter_no_change, max_fun
        As in scikit-learn. The same integer `random_state` gives the same starting weights as there; rows
        are shuffled in another order.
    standardize : bool, default=False
        Train on standardised features and targets (``Trainer(standardize=True)``): the weights take raw
        features all the same. `partial_fit` keeps the scaling of its first call. `tol` then counts in mean
        variances of the targets.
    dtype : {"float32", "float64"}, optional
        Of weights and arithmetic. None: float32 if X is float32, else float64.
    n_threads : int, optional
        As in ``MLP.predict``.

    Attributes
    ----------
    coefs_, intercepts_ : tuples of 2 arrays
        Views into the weights of `network_`: (d, h) and (h, m); (h,) and (m,). Assignable, in place or whole.
    network_ : MLP
        The network: it can be saved, exported and trained on.
    loss_, loss_curve_, best_loss_, n_iter_, t_, validation_scores_, best_validation_score_
        As in scikit-learn: `loss_` is half the mean squared error plus the penalty, in squared units of y;
        with `standardize`, without the penalty. Where Ctrl-C ends "lbfgs", it is that of the last iteration;
        NaN before the first one, and with `standardize` and several outputs.
    validation_loss_curve_ : list of float, or None
        Half the mean squared error of the validation data after each epoch (with "lbfgs", iteration). None
        where there are no validation data.
    n_features_in_, feature_names_in_, n_outputs_, n_layers_, out_activation_
        As in scikit-learn.

    Raises
    ------
    ValueError, TypeError
        From `fit`: a parameter or the data are of the wrong kind; sparse X; and whatever scikit-learn offers
        that fastmlp has not: more hidden layers, other activations, the Poisson loss.

    Notes
    -----
    With several outputs scikit-learn's gradient is not that of its loss, but so many times as long; "adam"
    and "sgd" follow it, so that learning rates and `alpha` mean the same. "lbfgs" needs the true one.

    "adam" adds `epsilon` to the root of the corrected second moment, as PyTorch does; scikit-learn to that of
    the uncorrected one.

    Where batches are of unequal size, the penalty of each is that of their mean size.

    Examples
    --------
    >>> from fastmlp import load_titanic
    >>> from fastmlp.sklearn import MLPRegressor
    >>> X, y = load_titanic()
    >>> model = MLPRegressor(
    ...     hidden_layer_sizes=(4,), batch_size=32, learning_rate_init=0.01, standardize=True, random_state=0
    ... ).fit(X, y)
    >>> bool(model.score(X, y) > 0.3)
    True
    """

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        standardize=False,
        dtype=None,
        n_threads=None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.standardize = standardize
        self.dtype = dtype
        self.n_threads = n_threads

    @property
    def coefs_(self):
        """(W1, W2) without their bias rows: views into `network_`."""
        return tuple(W[:-1] for W in self.network_.weights)

    @coefs_.setter
    def coefs_(self, coefs):
        _set_each("coefs_", [W[:-1] for W in self.network_.weights], coefs)

    @property
    def intercepts_(self):
        """The bias rows of W1 and W2: views into `network_`."""
        return tuple(W[-1] for W in self.network_.weights)

    @intercepts_.setter
    def intercepts_(self, intercepts):
        _set_each("intercepts_", [W[-1] for W in self.network_.weights], intercepts)

    @with_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) or (n, m) array_like
        sample_weight : (n,) array_like, optional
            Weights >= 0.
        X_val, y_val : array_like, optional
            Validation data: `validation_loss_curve_` is theirs, and `early_stopping` goes by them instead of
            setting rows aside. They must be on the scale of X and y, also where a Pipeline or
            TransformedTargetRegressor changes these (see Examples).
        sample_weight_val : array_like, optional
            Weights of the validation rows.

        Returns
        -------
        self : MLPRegressor

        Raises
        ------
        TypeError, ValueError
            A parameter or an array is of the wrong kind; the message names it.

        Warns
        -----
        ConvergenceWarning
            `max_iter` epochs were not enough.
        RuntimeWarning
            Training diverged; the message says what to do (scaling, above all).
        UserWarning
            Ctrl-C ended the fit, with the best weights so far; or `batch_size` is larger than X has rows; or
            validation data look as if they were not transformed as X and y are.

        Examples
        --------
        A Pipeline hands `X_val` on as it is, unless it is told to transform it, too. (For the targets,
        TransformedTargetRegressor has no such setting: give it the transformed `y_val`.)

        >>> import sklearn
        >>> from sklearn.pipeline import Pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from fastmlp import load_titanic
        >>> X, y = load_titanic()
        >>> model = MLPRegressor(random_state=0, max_iter=50, tol=1e9, n_iter_no_change=3)
        >>> with sklearn.config_context(enable_metadata_routing=True):
        ...     model = model.set_fit_request(X_val=True, y_val=True)
        ...     steps = [("scale", StandardScaler()), ("net", model)]
        ...     fitted = Pipeline(steps, transform_input=["X_val"]).fit(
        ...         X[200:], y[200:], X_val=X[:200], y_val=y[:200])
        >>> residuals = fitted.predict(X[:200]) - y[:200]
        >>> bool(abs(fitted[-1].validation_loss_curve_[-1] / ((residuals**2).mean() / 2) - 1) < 1e-9)
        True
        """
        hidden = self._check_parameters()
        again = self.warm_start and hasattr(self, "network_")
        X, Y, w = self._checked(X, y, sample_weight, reset=not again)
        random = check_random_state(self.random_state)
        validation = self._validation_data(X_val, y_val, sample_weight_val, Y.shape[1])
        if validation is not None:
            columns = getattr(self, "feature_names_in_", range(X.shape[1]))
            _warn_if_elsewhere("X_val", columns, X, validation[0])
            _warn_if_elsewhere("y_val", range(Y.shape[1]), Y, validation[1])
        if not again:
            self._initialize(X, Y, hidden, random)
        with self._callbacks(X, Y, w) as hook:
            if self.solver == "lbfgs":
                self._fit_lbfgs(X, Y, w, validation, hook)
                return self
            if self.early_stopping and validation is None:
                X, Y, w, validation = self._split_validation(X, Y, w, random)
            self._trainer = self._new_trainer(X, w, random)
            self._fit_epochs(X, Y, w, validation, hook, self.max_iter)
        if self.n_iter_ == self.max_iter and not self._stopped:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @available_if(lambda self: self.solver != "lbfgs")
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one more epoch on these data; parameters and result as for `fit`.

        The optimizer's memory and the random stream continue from call to call.

        Raises
        ------
        ValueError
            `early_stopping` is set; or as `fit`.
        """
        hidden = self._check_parameters()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        again = hasattr(self, "network_")
        X, Y, w = self._checked(X, y, sample_weight, reset=not again)
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

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the predictions, (n,) for one output, else (n, m), for X (n, d) array_like.

        They are float32 where X and the weights are; otherwise all is calculated in float64.
        """
        check_is_fitted(self, "network_")
        X = validate_data(self, X, dtype=(np.float64, np.float32), order="C", reset=False)
        net = self.network_
        if net.dtype < X.dtype:
            net = MLP._like(net.parameters, net.sizes, net.activations, net.objective, X.dtype)
        return net.predict(X, n_threads=self.n_threads)

    @classmethod
    def from_sklearn(cls, estimator: sklearn.neural_network.MLPRegressor) -> Self:
        """Return a fitted MLPRegressor with the parameters and weights of one of scikit-learn's.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPRegressor
            Fitted, with one hidden layer of ReLU units.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            It is none.

        Examples
        --------
        >>> import numpy as np, sklearn.neural_network
        >>> X = np.array([[0.0], [1.0], [2.0]])
        >>> theirs = sklearn.neural_network.MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs")
        >>> theirs = theirs.fit(X, X[:, 0])
        >>> np.allclose(MLPRegressor.from_sklearn(theirs).predict(X), theirs.predict(X))
        True
        """
        if not isinstance(estimator, sklearn.neural_network.MLPRegressor):
            raise TypeError(
                f"estimator: must be a sklearn.neural_network.MLPRegressor, got {type(estimator).__name__}"
            )
        check_is_fitted(estimator)
        ours = cls(**estimator.get_params())
        ours._check_parameters()
        first, last = estimator.coefs_
        ours.network_ = MLP._like(None, (*first.shape, last.shape[1]), dtype=first.dtype)
        ours.coefs_, ours.intercepts_ = estimator.coefs_, estimator.intercepts_
        ours.network_.trained = True
        _copy_fitted(estimator, ours)
        ours.validation_loss_curve_ = None
        return ours

    def to_sklearn(self) -> sklearn.neural_network.MLPRegressor:
        """Return a fitted ``sklearn.neural_network.MLPRegressor`` with copies of the weights.

        Examples
        --------
        >>> import numpy as np
        >>> X = np.array([[0.0], [1.0], [2.0]])
        >>> ours = MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs").fit(X, X[:, 0])
        >>> np.allclose(ours.to_sklearn().predict(X), ours.predict(X))
        True
        """
        check_is_fitted(self, "network_")
        theirs = sklearn.neural_network.MLPRegressor()
        theirs.set_params(**{name: getattr(self, name) for name in theirs.get_params()})
        theirs.coefs_ = [coef.copy() for coef in self.coefs_]
        theirs.intercepts_ = [intercept.copy() for intercept in self.intercepts_]
        theirs._best_coefs, theirs._best_intercepts = deepcopy((theirs.coefs_, theirs.intercepts_))
        _copy_fitted(self, theirs)
        return theirs

    def _check_parameters(self):
        """Raise where a parameter is not one that we can do; return the number of hidden units."""
        _one_of("loss", self.loss, ("squared_error",))
        _one_of("activation", self.activation, ("relu",))
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
        if len(hidden) != 1:
            raise ValueError(
                f"hidden_layer_sizes: fastmlp has one hidden layer, got {hidden}; for more, use "
                "sklearn.neural_network.MLPRegressor"
            )
        units = _checks.integer("hidden_layer_sizes", hidden[0])
        if self.warm_start and hasattr(self, "network_") and self.network_.sizes[1] != units:
            raise ValueError(
                f"hidden_layer_sizes: {units}, and warm_start continues with the {self.network_.sizes[1]} "
                "hidden units there are; give that number, or clone the estimator"
            )
        return units

    def _check_rates(self, dtype):
        """Raise where a number that the optimizer calculates with is out of its range, as a dtype has it."""
        for name in ("learning_rate_init", "epsilon"):
            _checks.number(name, getattr(self, name), 0, np.inf, open_low=True, dtype=dtype)
        for name in ("beta_1", "beta_2", "momentum"):
            _checks.number(name, getattr(self, name), 0, 1, open_high=True, dtype=dtype)

    def _checked(self, X, y, sample_weight, reset):
        """(X, Y, w); Y is (n, m)."""
        dtypes = (np.float64, np.float32) if self.dtype is None else _checks.dtype_of_network(self.dtype)
        X, y = validate_data(
            self, X, y, dtype=dtypes, order="C", multi_output=True, y_numeric=True, reset=reset
        )
        if not reset and not self.network_.parameters.flags.writeable:  # joblib maps large arrays into memory
            self.network_.parameters = self.network_.parameters.copy()
        Y = (column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y).reshape(len(X), -1)
        w = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        return X, Y, w

    def _validation_data(self, X, y, sample_weight, outputs):
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError(
                f"{'X_val' if X is None else 'y_val'}: needed too, as X_val and y_val go together"
            )
        options = {"order": "C", "multi_output": True, "y_numeric": True, "reset": False}
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), **options)
        Y = y.reshape(len(X), -1)
        if Y.shape[1] != outputs:
            raise ValueError(f"y_val: must have {outputs} outputs, as y has, got {Y.shape[1]}")
        w = _checks.sample_weights("sample_weight_val", sample_weight, X.dtype, rows=len(X))
        if self.early_stopping and self.solver != "lbfgs":
            _check_scores("y_val", Y, w)
        return X, Y, w

    def _split_validation(self, X, Y, w, random):
        """(X, Y, w) without the rows of a validation set, and that set; rows of weight 0 are in neither."""
        if w is not None and not w.all():
            X, Y, w = X[w > 0], Y[w > 0], w[w > 0]
        arrays = [array for array in (X, Y, w) if array is not None]
        parts = train_test_split(*arrays, random_state=random, test_size=self.validation_fraction)
        training, validation = parts[::2], parts[1::2]
        if (Y[0] != Y).any():  # else any weights are as good
            _check_scores("validation_fraction", validation[1], None)
        return *training, *[None] * (w is None), (*validation, *[None] * (w is None))

    def _initialize(self, X, Y, hidden, random):
        """A new network, with scikit-learn's starting weights, and nothing recorded yet."""
        sizes = X.shape[1], hidden, Y.shape[1]
        self.network_ = MLP._like(None, sizes, dtype=self.dtype or X.dtype)
        for W in self.network_.weights:
            inputs, outputs = len(W) - 1, W.shape[1]
            bound = np.sqrt(6 / (inputs + outputs))
            W[:-1] = random.uniform(-bound, bound, (inputs, outputs))
            W[-1] = random.uniform(-bound, bound, outputs)
        if hasattr(self, "feature_names_in_"):
            self.network_.feature_names = tuple(self.feature_names_in_)
        self.n_outputs_ = Y.shape[1]
        self.n_layers_ = 3
        self.out_activation_ = "identity"
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
        twin = MLP._like(None, net.sizes, net.activations, _SquaredError(), net.dtype)
        twin._parameters, twin.trained = net._parameters, net.trained
        return twin

    def _batch_size(self, X):
        if self.batch_size != "auto" and self.batch_size > len(X):
            warnings.warn(
                f"batch_size: {self.batch_size} is more than the {len(X)} rows of X, and is clipped",
                stacklevel=4,
            )
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
            self.loss_ = np.inf
        self._stopped = self._stopped or reason in ("diverged", "interrupted")
        if reason == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=3)
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
            self.validation_loss_curve_.append(self.network_.loss(*validation) / 2)
            if self.early_stopping:
                self.validation_scores_.append(_r2(self.network_, *validation))
                if self.verbose:
                    print(f"Validation score: {self.validation_scores_[-1]:f}")

    def _update_best_loss(self):
        unit = np.mean(self._trainer.scaling.scale_y**2) if self.standardize else 1
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
        net = MLP._like(raw.parameters, raw.sizes, raw.activations, raw.objective, "float64")
        scales = None
        if self.standardize:
            scales = scaling.fit_scaling(X, Y, w, raw.objective, raw.sizes[-1])
        data = X, Y, w
        if self.standardize:
            data = *scaling.transform(X, Y, scales), w
            if raw.trained:
                scaling.unfold(net.weights, scales)
            scaling.clear_constant(net.weights[0], scales)
        penalty = self.alpha / (len(X) if w is None else w.sum())

        def objective(parameters):
            net.parameters[:] = parameters
            loss, gradients = net.loss_and_gradients(*data)
            for W, dW in zip(net.weights, gradients, strict=True):
                dW /= 2
                dW[:-1] += penalty * W[:-1]
            return loss / 2 + penalty / 2 * _squares(net), np.concatenate([dW.ravel() for dW in gradients])

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
                self.validation_loss_curve_.append(raw.loss(*validation) / 2)
            if hook is not None and hook():
                raise StopIteration

        self.validation_loss_curve_ = None if validation is None else []
        self.n_iter_ = 0
        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        try:
            found = minimize(
                objective,
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
                unit = scales.scale_y[0] ** 2 if net.sizes[-1] == 1 else np.nan
                latest_loss = (latest_loss - penalty / 2 * _squares(net)) * unit
            self.loss_ = latest_loss
            warnings.warn("Training interrupted by user.", stacklevel=3)
            return
        publish(found.x)
        self.loss_ = raw.loss(X, Y, w) / 2 if self.standardize else objective(found.x)[0]
        self.n_iter_ = found.nit
        if self.standardize:
            net.parameters[:] = found.x
            lost = lost_in_folding(raw, net.parameters, scales, X, Y, w)
            if lost:
                warnings.warn(lost, RuntimeWarning, stacklevel=3)
        if found.status != 0 and "StopIteration" not in found.message:
            warnings.warn(
                f"lbfgs failed to converge after {found.nit} iterations (status {found.status}): "
                f"{found.message}. Increase max_iter or max_fun, or scale the data (standardize=True)",
                ConvergenceWarning,
                stacklevel=3,
            )

    @contextmanager
    def _callbacks(self, X, Y, w):
        """A function to call after each epoch, which says whether to stop; None where nobody listens.

        on_fit_task_begin of an epoch is called at its end, right before on_fit_task_end: the loop says that
        an epoch is over, not that one begins.
        """
        if not hasattr(self, "_init_callback_context"):
            yield None
            return
        told = {"estimator": self, "X": X, "y": Y[:, 0] if self.n_outputs_ == 1 else Y}
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


from_sklearn = MLPRegressor.from_sklearn


def _one_of(name, value, taken):
    if value not in taken:
        raise ValueError(
            f"{name}: fastmlp takes {', '.join(map(repr, taken))}, got {value!r}; for what scikit-learn "
            "offers beyond, use sklearn.neural_network.MLPRegressor"
        )


def _squares(net):
    """The sum of the squared weights, without the bias rows."""
    # vdot: NumPy's sum of squares took 7 of the 17 µs that an epoch of 20 rows and 4 units lasted
    return sum(float(np.vdot(W[:-1], W[:-1])) for W in net.weights)


def _r2(net, X, Y, sample_weight):
    """sklearn.metrics.r2_score, which takes longer than an epoch of a small network."""
    weights = np.ones(len(Y)) if sample_weight is None else sample_weight
    residuals = weights @ (net.predict(X).reshape(Y.shape) - Y) ** 2
    spread = weights @ (Y - np.average(Y, axis=0, weights=weights)) ** 2
    constant = spread == 0
    scores = 1 - residuals / np.where(constant, 1, spread)
    return float(np.mean(np.where(constant, residuals == 0, scores)))


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


def _check_scores(name, Y, sample_weight):
    """Raise where the R² of validation data says nothing: early stopping would keep the first weights."""
    counted = Y if sample_weight is None else Y[sample_weight > 0]
    if len(counted) < 2 or (counted == counted[0]).all():
        found = "a single row counts" if len(counted) < 2 else "all targets are equal"
        raise ValueError(
            f"{name}: early_stopping goes by the R² of the validation data, of which {found}; give more "
            "rows, increase validation_fraction, or the size of your dataset, or set early_stopping=False"
        )


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
        warnings.warn(
            f"{name}: half of column {columns[j]!r} is beyond {middle[j]:.3g}, and {which} has "
            f"{low[j]:.3g} to {high[j]:.3g} there; is it of the same scale? Else {remedy}",
            stacklevel=4,
        )


def _copy_fitted(source, target):
    for name in FITTED:
        if hasattr(source, name):
            setattr(target, name, deepcopy(getattr(source, name)))
