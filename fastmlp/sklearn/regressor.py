"""MLPRegressor: a drop-in for ``sklearn.neural_network.MLPRegressor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import sklearn.metrics
import sklearn.neural_network
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from fastmlp import objectives
from fastmlp.objectives import Quantile
from fastmlp.sklearn._base import MLPBase, with_callbacks

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike

LOSSES = ("squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma")


class MLPRegressor(MultiOutputMixin, RegressorMixin, MLPBase):
    """``sklearn.neural_network.MLPRegressor``, trained by fastmlp, with more losses and activations.

    Parameters have the names, meanings and defaults of scikit-learn's; only what differs is described here.

    Parameters
    ----------
    loss : str or object of `fastmlp.objectives`
        "squared_error" or "poisson", as in scikit-learn; "absolute_error", "huber", "quantile", "gamma";
        with parameters as objects, e.g. ``Huber(delta=2.0)``, ``Quantile((0.1, 0.5, 0.9))``, whose levels
        are predicted at once.
    hidden_layer_sizes : int or sequence of int
    activation : str or sequence of str
        Any of `fastmlp.activations`: one name for all hidden layers, or one for each.
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
    coefs_, intercepts_ : tuples of arrays
        Views into the weights of `network_`, (inputs, outputs) and (outputs,) of each layer. Assignable, in
        place or whole.
    network_ : MLP
        The network: it can be saved, exported and trained on.
    loss_, loss_curve_, best_loss_, n_iter_, t_, validation_scores_, best_validation_score_
        As in scikit-learn: `loss_` is half the mean squared error (of other losses the mean, of Poisson
        summed over the outputs) plus the penalty, in units of y; with `standardize`, without the penalty.
        Where Ctrl-C ends "lbfgs", it is that of the last iteration; NaN before the first one, and with
        `standardize` and several outputs.
    validation_loss_curve_ : list of float, or None
        The same loss of the validation data, without the penalty, after each epoch (with "lbfgs", iteration).
        None where there are no validation data.
    n_features_in_, feature_names_in_, n_outputs_, n_layers_, out_activation_
        As in scikit-learn.

    Raises
    ------
    ValueError, TypeError
        From `fit`: a parameter or the data are of the wrong kind; sparse X.

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

    _theirs = sklearn.neural_network.MLPRegressor

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
        return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val)

    @available_if(lambda self: self.solver != "lbfgs")
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one more epoch on these data; parameters and result as for `fit`.

        The optimizer's memory and the random stream continue from call to call.

        Raises
        ------
        ValueError
            `early_stopping` is set; or as `fit`.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the predictions, (n,) for one output, else (n, m), for X (n, d) array_like.

        They are float32 where X and the weights are; otherwise all is calculated in float64. A quantile loss
        predicts its levels, which never cross.
        """
        return self._predictions(X)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R² of the predictions; with a quantile loss D², the mean over its levels.

        D² is the share of the pinball loss of a constant, the quantile of y, that is explained
        (`sklearn.metrics.d2_pinball_score`).
        """
        objective = self._objective()
        if not isinstance(objective, Quantile):
            return super().score(X, y, sample_weight)
        return _d2_pinball(self.predict(X), np.ravel(y), sample_weight, objective.levels)

    def _check_parameters(self):
        self._objective()
        return super()._check_parameters()

    def _objective(self):
        """That of `network_`."""
        name = getattr(self.loss, "name", self.loss)
        if not isinstance(name, str) or name not in LOSSES:
            raise ValueError(
                f"loss: must be one of {', '.join(map(repr, LOSSES))}, or an object of fastmlp.objectives, "
                f"got {self.loss!r}"
            )
        return objectives.resolve(self.loss)

    def _n_outputs(self, Y):
        objective = self._objective()
        return len(objective.levels) if isinstance(objective, Quantile) else Y.shape[1]

    def _validated(self, X, y, reset):
        dtypes = (np.float64, np.float32) if reset is None else self._dtypes()
        X, y = validate_data(
            self, X, y, dtype=dtypes, order="C", multi_output=True, y_numeric=True, reset=bool(reset)
        )
        Y = (column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y).reshape(len(X), -1)
        objective = self._objective()
        if isinstance(objective, Quantile) and Y.shape[1] > 1:
            raise ValueError(f"y: a quantile loss takes one target, got {Y.shape[1]}")
        objective.check_targets("y" if reset is not None else "y_val", Y, Y.shape[1])
        return X, Y

    def _score_of(self, net, X, Y, sample_weight):
        found, objective = net.predict(X), self._objective()
        if isinstance(objective, Quantile):
            return _d2_pinball(found, Y[:, 0], sample_weight, objective.levels)
        return _r2(found.reshape(Y.shape), Y, sample_weight)

    def _check_scores(self, name, Y, sample_weight):
        """Raise where the R² of validation data says nothing: early stopping would keep the first weights."""
        counted = Y if sample_weight is None else Y[sample_weight > 0]
        if len(counted) < 2 or (counted == counted[0]).all():
            found = "a single row counts" if len(counted) < 2 else "all targets are equal"
            raise ValueError(
                f"{name}: early_stopping goes by the R² of the validation data, of which {found}; give more "
                "rows, increase validation_fraction, or the size of your dataset, or set early_stopping=False"
            )


def _r2(found, Y, sample_weight):
    """sklearn.metrics.r2_score, which takes longer than an epoch of a small network."""
    weights = np.ones(len(Y)) if sample_weight is None else sample_weight
    residuals = weights @ (found - Y) ** 2
    spread = weights @ (Y - np.average(Y, axis=0, weights=weights)) ** 2
    constant = spread == 0
    scores = 1 - residuals / np.where(constant, 1, spread)
    return float(np.mean(np.where(constant, residuals == 0, scores)))


def _d2_pinball(found, y, sample_weight, levels):
    """The mean over the levels of sklearn.metrics.d2_pinball_score."""
    found = found.reshape(len(y), len(levels))
    scores = [
        sklearn.metrics.d2_pinball_score(y, found[:, k], sample_weight=sample_weight, alpha=level)
        for k, level in enumerate(levels)
    ]
    return float(np.mean(scores))
