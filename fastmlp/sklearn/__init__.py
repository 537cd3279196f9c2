"""Drop-ins for scikit-learn's neural networks (extra ``sklearn``): change the import, and nothing else."""

from typing import Any

from fastmlp.sklearn._base import MLPBase  # first: it says what to install where scikit-learn is missing
from fastmlp.sklearn.classifier import MLPClassifier
from fastmlp.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]


def from_sklearn(estimator: Any) -> MLPBase:
    """Return the fitted fastmlp estimator for one of scikit-learn's, with copies of its weights.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPRegressor or MLPClassifier
        Fitted.

    Raises
    ------
    TypeError, ValueError, sklearn.exceptions.NotFittedError
        It is none.

    Examples
    --------
    >>> import numpy as np, sklearn.neural_network
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> theirs = sklearn.neural_network.MLPClassifier((5,), solver="lbfgs").fit(X, [0, 1, 1])
    >>> from_sklearn(theirs)
    MLPClassifier(hidden_layer_sizes=(5,), solver='lbfgs')
    """
    for ours in (MLPClassifier, MLPRegressor):
        if isinstance(estimator, ours._theirs):
            return ours.from_sklearn(estimator)
    raise TypeError(
        "estimator: must be a sklearn.neural_network.MLPRegressor or MLPClassifier, got "
        f"{type(estimator).__name__}"
    )
