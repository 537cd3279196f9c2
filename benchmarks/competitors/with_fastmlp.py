"""fastmlp, as a user calls it."""

from benchmarks.competitors import common
from fastmlp import MLP, SGD, Adam, Trainer


def _network(W1, W2):
    net = MLP(common.sizes(W1, W2), dtype=W1.dtype.name)
    for W, start in zip(net.weights, (W1, W2), strict=True):
        W[:] = start
    return net


def _training(net, X, Y, *settings, **more):
    trainer = Trainer(net, *settings, **more)

    def train(count):
        trainer.fit(X, Y, epochs=count)
        return net.weights

    return train


def steps(X, Y, W1, W2):
    """One batch an epoch."""
    return _training(_network(W1, W2), X, Y, SGD(common.LEARNING_RATE), batch_size=None)


def epochs(X, Y, W1, W2, batch, shuffle):
    """All in one call, the orders too."""
    adam = Adam(common.LEARNING_RATE, common.BETA1, common.BETA2, common.EPS)
    return _training(_network(W1, W2), X, Y, adam, batch_size=batch, shuffle=shuffle)


def predict(X, W1, W2):
    """From an array that needs no conversion."""
    net = _network(W1, W2)
    return lambda: net.predict(X)
