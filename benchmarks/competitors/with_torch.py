"""PyTorch, eager: autograd and torch.optim, without modules and without a DataLoader.

Of the forms of the optimizers, the plain SGD and the fused Adam are fastest for small networks; for wide
ones all are about the same. Without autograd, with the gradient written out as in with_numpy.py, a step of
3→4→1 with 256 rows would take 40 µs in place of 160, and one of 64→256→1 330 in place of 400.
"""

import torch
from torch.nn.functional import mse_loss

from benchmarks.competitors import common
from fastmlp import kernels

torch.set_num_threads(kernels.threads())

ACTIVATIONS = {"relu": torch.Tensor.relu_, "tanh": torch.Tensor.tanh_}


def columns(A):
    """common.columns as a tensor."""
    return torch.from_numpy(common.columns(A))


def parameters(weights):
    """The weights and biases w1, b1, w2, b2, … as tensors."""
    layers = common.views(common.packed(weights), common.sizes(weights))
    return [torch.tensor(array) for layer in layers for array in layer]


def matrices(parameters):
    """The weights as arrays (W1, …, WL) again."""
    arrays = [parameter.detach().numpy() for parameter in parameters]
    return common.matrices(zip(arrays[::2], arrays[1::2], strict=True))


def forward(parameters, X, activation="relu"):
    """The predictions (m, n) for the columns of X. By index: slices and zip cost 1.5 µs of 10."""
    activate = ACTIVATIONS[activation]
    for k in range(0, len(parameters) - 2, 2):
        X = activate(torch.addmm(parameters[k + 1], parameters[k], X))
    return torch.addmm(parameters[-1], parameters[-2], X)


def loss(parameters, X, Y, activation="relu"):
    """The mean squared error."""
    return mse_loss(forward(parameters, X, activation), Y)


def batches(X, Y, batch, shuffle):
    """So many columns of X and Y at a time, all of them once."""
    if shuffle:
        order = torch.randperm(X.shape[1])
        X, Y = X[:, order], Y[:, order]
    return zip(X.split(batch, dim=1), Y.split(batch, dim=1), strict=True)


def _step(weights, optimizer, X, Y, activation="relu"):
    loss(weights, X, Y, activation).backward()
    optimizer.step()
    for w in weights:
        w.grad = None  # as optimizer.zero_grad does in 10 µs more


def steps(X, Y, weights, activation):
    """A loop in Python."""
    X, Y = columns(X), columns(Y)
    weights = [w.requires_grad_() for w in parameters(weights)]
    optimizer = torch.optim.SGD(weights, common.LEARNING_RATE, foreach=False)

    def train(count):
        for _ in range(count):
            _step(weights, optimizer, X, Y, activation)
        return matrices(weights)

    return train


def epochs(X, Y, weights, batch, shuffle):
    """Batches are views of a permuted copy."""
    X, Y = columns(X), columns(Y)
    weights = [w.requires_grad_() for w in parameters(weights)]
    betas = common.BETA1, common.BETA2
    optimizer = torch.optim.Adam(weights, common.LEARNING_RATE, betas, common.EPS, fused=True)

    def train(count):
        for _ in range(count):
            for x, y in batches(X, Y, batch, shuffle):
                _step(weights, optimizer, x, y)
        return matrices(weights)

    return train


def predict(X, weights, forward=forward):
    """From a tensor to a tensor, in blocks."""
    hidden, weights = weights[0].shape[1], parameters(weights)

    @torch.inference_mode()
    def predict(X):
        return forward(weights, X.T).T

    return common.in_blocks(predict, torch.from_numpy(X), hidden, torch.cat)
