"""scikit-learn: MLPRegressor.

Its gradient is that of half the squared residuals, averaged over the rows but not over the outputs: m / 2
times ours. The learning rate of SGD and Adam's eps make up for it.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from benchmarks.competitors import common

warnings.filterwarnings("ignore", category=ConvergenceWarning)


def _target(Y):
    return Y[:, 0] if Y.shape[1] == 1 else Y


def _model(X, Y, weights, **settings):
    """A model with these weights, from which `fit` goes on."""
    endless = dict(tol=0, n_iter_no_change=np.inf, warm_start=True)
    hidden = common.sizes(weights)[1:-1]
    model = MLPRegressor(hidden_layer_sizes=hidden, alpha=0, max_iter=1, **endless, **settings)
    model.fit(X, _target(Y))  # makes the arrays of weights
    for W, coefs, intercepts in zip(weights, model.coefs_, model.intercepts_, strict=True):
        coefs[:], intercepts[:] = W[:-1], W[-1]
    return model


def _training(model, X, Y):
    def train(count):
        model.set_params(max_iter=count).fit(X, _target(Y))
        return [np.vstack(layer) for layer in zip(model.coefs_, model.intercepts_, strict=True)]

    return train


def steps(X, Y, weights, activation):
    """One batch an epoch."""
    n, m = Y.shape
    sgd = dict(solver="sgd", momentum=0, learning_rate_init=common.LEARNING_RATE * 2 / m)
    model = _model(X, Y, weights, activation=activation, batch_size=n, shuffle=False, **sgd)
    return _training(model, X, Y)


def epochs(X, Y, weights, batch, shuffle):
    """Each call of `fit` starts Adam's moments afresh."""
    adam = dict(
        learning_rate_init=common.LEARNING_RATE,
        beta_1=common.BETA1,
        beta_2=common.BETA2,
        epsilon=common.EPS * Y.shape[1] / 2,
    )
    return _training(_model(X, Y, weights, batch_size=batch, shuffle=shuffle, **adam), X, Y)


def predict(X, weights):
    """In blocks."""
    one_row = X[:1], np.zeros((1, weights[-1].shape[1]), X.dtype)
    return common.in_blocks(_model(*one_row, weights).predict, X, weights[0].shape[1], np.concatenate)
