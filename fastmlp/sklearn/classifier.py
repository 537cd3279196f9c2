"""MLPClassifier: a drop-in for ``sklearn.neural_network.MLPClassifier``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import sklearn.neural_network
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastmlp import _checks
from fastmlp.objectives import BinaryLogLoss, LogLoss
from fastmlp.sklearn._base import MLPBase, with_callbacks

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike


class MLPClassifier(ClassifierMixin, MLPBase):
    """``sklearn.neural_network.MLPClassifier``, trained by fastmlp, with more activations and class weights.

    Two classes, more, or several labels a row (multi-label), of any kind that scikit-learn takes. Parameters
    have the names, meanings and defaults of scikit-learn's; only what differs is described here.

    Parameters
    ----------
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
    class_weight : dict, list of dict, or "balanced", optional
        Weights of the classes, times `sample_weight`, as in ``sklearn.svm.SVC``; of multi-label targets a
        dict for each label.
    label_smoothing : float in [0, 1), default=0.0
        Targets count as y (1 - s) + s/m (`fastmlp.objectives.LogLoss`).
    standardize : bool, default=False
        Train on standardised features (``Trainer(standardize=True)``): the weights take raw features all the
        same. `partial_fit` keeps the scaling of its first call.
    dtype : {"float32", "float64"}, optional
        Of weights and arithmetic. None: float32 if X is float32, else float64.
    n_threads : int, optional
        As in ``MLP.predict``.

    Attributes
    ----------
    classes_ : (n_classes,) array
        Of multi-label targets the numbers of the labels.
    coefs_, intercepts_ : tuples of arrays
        Views into the weights of `network_`, (inputs, outputs) and (outputs,) of each layer. Assignable, in
        place or whole.
    network_ : MLP
        The network, whose predictions are probabilities: one output for two classes.
    loss_, loss_curve_, best_loss_, n_iter_, t_, validation_scores_, best_validation_score_
        As in scikit-learn; with `standardize`, without the penalty.
    validation_loss_curve_ : list of float, or None
        The log-loss of the validation data after each epoch (with "lbfgs", iteration). None where there are
        no validation data.
    n_features_in_, feature_names_in_, n_outputs_, n_layers_, out_activation_
        As in scikit-learn.

    Raises
    ------
    ValueError, TypeError
        From `fit`: a parameter or the data are of the wrong kind; sparse X.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from fastmlp.sklearn import MLPClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = MLPClassifier((16, 16), activation="tanh", standardize=True, random_state=0, max_iter=500)
    >>> bool(model.fit(X, y).score(X, y) > 0.95)
    True
    >>> model.predict_proba(X).shape
    (178, 3)
    """

    _theirs = sklearn.neural_network.MLPClassifier

    def __init__(
        self,
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
        class_weight=None,
        label_smoothing=0.0,
        standardize=False,
        dtype=None,
        n_threads=None,
    ) -> None:
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
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
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
        """Fit the network; all parameters but y are `MLPRegressor.fit`'s.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) labels, or (n, m) of 0 and 1: each row's labels
        sample_weight : (n,) array_like, optional
            Weights >= 0.
        X_val, y_val : array_like, optional
            Validation data: `validation_loss_curve_` is theirs, and `early_stopping` goes by their accuracy
            instead of setting rows aside.
        sample_weight_val : array_like, optional
            Weights of the validation rows.

        Raises
        ------
        TypeError, ValueError
            A parameter or an array is of the wrong kind; the message names it.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val)

    @available_if(lambda self: self.solver != "lbfgs")
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one more epoch on these data; parameters and result as for `fit`.

        Parameters
        ----------
        classes : (n_classes,) array_like
            All labels there will be; needed in the first call, as y need not have them all.

        Raises
        ------
        ValueError
            `early_stopping` is set; no classes, or others than before; or as `fit`.
        """
        if classes is None and not hasattr(self, "network_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            classes = unique_labels(classes)
            if hasattr(self, "network_") and not np.array_equal(self.classes_, classes):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                    f"{self.classes_!r}"
                )
        return self._partial_fit(X, y, sample_weight, classes=classes)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the most probable label of each row, or (n, m) of 0 and 1."""
        p = self._predictions(X)
        if self._label_binarizer.y_type_ == "multilabel-indicator":  # two labels or more
            return (p > 0.5).astype(int)
        places = p.argmax(axis=1) if p.ndim == 2 else (p > 0.5) & (len(self.classes_) > 1)
        return self.classes_[places.astype(int)]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the probability of each class, (n, n_classes), in the order of `classes_`."""
        p = self._predictions(X)
        return np.column_stack([1 - p, p]) if p.ndim == 1 else p

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the logarithms of `predict_proba`."""
        p = self.predict_proba(X)
        return np.log(p, out=p)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _check_parameters(self):
        _checks.number("label_smoothing", self.label_smoothing, 0, 1, open_high=True)
        return super()._check_parameters()

    def _objective(self):
        """That of `network_`."""
        kind = LogLoss if self._label_binarizer.y_type_ == "multiclass" else BinaryLogLoss
        return kind(self.label_smoothing)

    def _n_outputs(self, Y):
        return len(self.classes_) if Y.shape[1] == 1 and len(self.classes_) > 2 else Y.shape[1]

    def _learn_classes(self, y):
        self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _validated(self, X, y, reset, classes=None):
        dtypes = (np.float64, np.float32) if reset is None else self._dtypes()
        X, y = validate_data(self, X, y, dtype=dtypes, order="C", multi_output=True, reset=bool(reset))
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if reset:
            multilabel = type_of_target(y).startswith("multilabel")
            self._learn_classes(y if classes is None or multilabel else classes)
        if not reset or classes is not None:
            self._check_classes(y, same=reset is False and self.warm_start)
        if self._label_binarizer.y_type_ == "multiclass":
            return X, np.searchsorted(self.classes_, y).astype(X.dtype).reshape(-1, 1)
        return X, self._label_binarizer.transform(y).astype(X.dtype).reshape(len(X), -1)

    def _check_classes(self, y, same):
        """Raise where y has other classes; with `same` also where one is missing."""
        classes = unique_labels(y)
        if same and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {classes}."
            )

    def _weights(self, sample_weight, X, y):
        if self.class_weight is None:
            return super()._weights(sample_weight, X, y)
        w = _check_sample_weight(sample_weight, X)
        return w * compute_sample_weight(self.class_weight, y)

    def _score_of(self, net, X, Y, sample_weight):
        """The accuracy: of several labels, the rows of which all are right."""
        p = net.predict(X)
        if p.shape == (len(Y), len(self.classes_)) and Y.shape[1] == 1:
            right = p.argmax(axis=1) == Y[:, 0]
        else:
            right = ((p.reshape(Y.shape) > 0.5) == (Y > 0.5)).all(axis=1)
        if not np.isfinite(p).all():
            return np.nan
        return float(np.average(right, weights=sample_weight))

    def _check_scores(self, name, Y, sample_weight):
        if len(Y if sample_weight is None else Y[sample_weight > 0]) < 2:
            raise ValueError(
                f"{name}: early_stopping goes by the accuracy of the validation data, of which a single row "
                "counts; give more rows, or set early_stopping=False"
            )

    def _strata(self, Y):
        return Y == 1 if self.n_outputs_ == 1 else None
