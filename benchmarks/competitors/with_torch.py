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


def columns(A):
    """common.columns as a tensor."""
    return torch.from_numpy(common.columns(A))


def parameters(W1, W2):
    """The weights w1, b1, w2, b2 as tensors."""
    return [torch.tensor(w) for w in common.views(common.packed(W1, W2), common.sizes(W1, W2))]


def matrices(weights):
    """The weights as arrays (W1, W2) again."""
    return common.matrices(*(w.detach().numpy() for w in weights))


def forward(weights, X):
    """The predictions (m, n) for the columns of X."""
    w1, b1, w2, b2 = weights
    return torch.addmm(b2, w2, torch.addmm(b1, w1, X).relu_())


def loss(weights, X, Y):
    """The mean squared error."""
    return mse_loss(forward(weights, X), Y)


def batches(X, Y, batch, shuffle):
    """So many columns of X and Y at a time, all of them once."""
    if shuffle:
        order = torch.randperm(X.shape[1])
        X, Y = X[:, order], Y[:, order]
    return zip(X.split(batch, dim=1), Y.split(batch, dim=1), strict=True)


def _step(weights, optimizer, X, Y):
    loss(weights, X, Y).backward()
    optimizer.step()
    for w in weights:
        w.grad = None  # as optimizer.zero_grad does in 10 µs more


def steps(X, Y, W1, W2):
    """A loop in Python."""
    X, Y = columns(X), columns(Y)
    weights = [w.requires_grad_() for w in parameters(W1, W2)]
    optimizer = torch.optim.SGD(weights, common.LEARNING_RATE, foreach=False)

    def train(count):
        for _ in range(count):
            _step(weights, optimizer, X, Y)
        return matrices(weights)

    return train


def epochs(X, Y, W1, W2, batch, shuffle):
    """Batches are views of a permuted copy."""
    X, Y = columns(X), columns(Y)
    weights = [w.requires_grad_() for w in parameters(W1, W2)]
    betas = common.BETA1, common.BETA2
    optimizer = torch.optim.Adam(weights, common.LEARNING_RATE, betas, common.EPS, fused=True)

    def train(count):
        for _ in range(count):
            for x, y in batches(X, Y, batch, shuffle):
                _step(weights, optimizer, x, y)
        return matrices(weights)

    return train


def predict(X, W1, W2, forward=forward):
    """From a tensor to a tensor, in blocks."""
    weights = parameters(W1, W2)

    @torch.inference_mode()
    def predict(X):
        return forward(weights, X.T).T

    return common.in_blocks(predict, torch.from_numpy(X), W1.shape[1], torch.cat)
