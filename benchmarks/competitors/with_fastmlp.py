"""fastmlp, as a user calls it."""

from benchmarks.competitors import common
from fastmlp import MLP, SGD, Adam, Trainer


def _network(weights, activation="relu"):
    net = MLP(common.sizes(weights), activation=activation, dtype=weights[0].dtype.name)
    for W, start in zip(net.weights, weights, strict=True):
        W[:] = start
    return net


def _training(net, X, Y, *settings, **more):
    trainer = Trainer(net, *settings, **more)

    def train(count):
        trainer.fit(X, Y, epochs=count)
        return net.weights

    return train


def steps(X, Y, weights, activation):
    """One batch an epoch."""
    return _training(_network(weights, activation), X, Y, SGD(common.LEARNING_RATE), batch_size=None)


def epochs(X, Y, weights, batch, shuffle):
    """All in one call, the orders too."""
    adam = Adam(common.LEARNING_RATE, common.BETA1, common.BETA2, common.EPS)
    return _training(_network(weights), X, Y, adam, batch_size=batch, shuffle=shuffle)


def predict(X, weights):
    """From an array that needs no conversion."""
    net = _network(weights)
    return lambda: net.predict(X)
