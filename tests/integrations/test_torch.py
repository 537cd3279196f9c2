"""Against PyTorch, in float64. Run by `pytest -m torch`, and only there; without PyTorch they fail."""

from functools import partial

import numpy as np
import pytest
import sheet
from hypothesis import assume, given
from hypothesis import strategies as st

from fastmlp import MLP, SGD, Adam, AdamW, Trainer, kernels, reference

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def torch():
    import torch

    torch.set_num_threads(1)  # with so little to do, more would wait for each other
    return torch


def draw(rng, n, d, h, m):
    return (rng.normal(size=shape) for shape in ((n, d), (n, m), (d + 1, h), (h + 1, m)))


def torch_loss(torch, X, Y, W1, W2, w):
    """The network of the sheet, in PyTorch's operations; gradients are its own."""
    hidden = torch.relu(X @ W1[:-1] + W1[-1])
    squares = ((hidden @ W2[:-1] + W2[-1] - Y) ** 2).mean(dim=1)
    return (w * squares).sum() / w.sum()


@pytest.mark.parametrize("m", [1, 2, 3, 10])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_autograd(torch, rng, m, weighted):
    X, Y, W1, W2 = draw(rng, 200, 5, 13, m)
    w = rng.uniform(size=200) if weighted else np.ones(200)
    X_, Y_, w_ = (torch.from_numpy(a) for a in (X, Y, w))
    V1, V2 = (torch.from_numpy(W).clone().requires_grad_() for W in (W1, W2))
    loss = torch_loss(torch, X_, Y_, V1, V2, w_)
    loss.backward()
    L, dW1, dW2 = sheet.loss_and_gradients(reference, X, Y, W1, W2, w if weighted else None)
    assert np.isclose(L, loss.item(), rtol=1e-12, atol=0)
    for ours, theirs in ((dW1, V1.grad), (dW2, V2.grad)):
        scale = np.abs(theirs.numpy()).max()
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-12 * scale)


units = st.integers(1, 40)


@given(
    build=st.sampled_from(kernels.AVAILABLE_ISAS),
    sizes=st.tuples(st.integers(1, 300), units, units, st.sampled_from([1, 2, 3, 10])),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_gradients_of_any_sizes_are_those_of_autograd(torch, build, sizes, weighted, seed):
    """Every build's, to 1e-12 of the largest element."""
    rng = np.random.default_rng(seed)
    X, Y, W1, W2 = draw(rng, *sizes)
    w = rng.uniform(0.1, 1, len(X)) if weighted else None
    assume(np.abs(reference.graph(X, Y, W1, W2)["B"]).min() > 1e-12)  # rounding moves none across the kink
    X_, Y_, w_ = (torch.from_numpy(a) for a in (X, Y, np.ones(len(X)) if w is None else w))
    V1, V2 = (torch.from_numpy(W).clone().requires_grad_() for W in (W1, W2))
    expected = torch_loss(torch, X_, Y_, V1, V2, w_)
    expected.backward()
    with kernels.use(build):
        L, dW1, dW2 = sheet.loss_and_gradients(kernels, X, Y, W1, W2, w)
    assert abs(L - expected.item()) <= 1e-12 * expected.item()
    for ours, theirs in ((dW1, V1.grad.numpy()), (dW2, V2.grad.numpy())):
        assert np.abs(ours - theirs).max() <= 1e-12 * np.abs(theirs).max()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(0.05), partial(dict, name="SGD", lr=0.05)),
        (SGD(0.05, momentum=0.9), partial(dict, name="SGD", lr=0.05, momentum=0.9)),
        (
            SGD(0.05, momentum=0.9, nesterov=True),
            partial(dict, name="SGD", lr=0.05, momentum=0.9, nesterov=True),
        ),
        (Adam(0.01), partial(dict, name="Adam", lr=0.01)),
        (Adam(0.01, 0.5, 0.9, 1e-3), partial(dict, name="Adam", lr=0.01, betas=(0.5, 0.9), eps=1e-3)),
        (AdamW(0.01, weight_decay=0.1), partial(dict, name="AdamW", lr=0.01, weight_decay=0.1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("m", [1, 3])
def test_steps_are_those_of_torch(torch, rng, ours, theirs, m):
    X, Y, W1, W2 = draw(rng, 60, 3, 5, m)
    net = MLP((3, 5, m), dtype="float64")
    for W, start in zip(net.weights, (W1, W2), strict=True):
        W[:] = start
    trainer = Trainer(net, ours, batch_size=None)
    V1, V2 = (torch.from_numpy(W).clone().requires_grad_() for W in (W1, W2))
    settings = theirs()
    optimizer = getattr(torch.optim, settings.pop("name"))([V1, V2], **settings)
    X_, Y_, w_ = (torch.from_numpy(a) for a in (X, Y, np.ones(60)))
    for _ in range(10):
        optimizer.zero_grad()
        torch_loss(torch, X_, Y_, V1, V2, w_).backward()
        optimizer.step()
        trainer.fit(X, Y, epochs=1)
        for W, V in zip(net.weights, (V1, V2), strict=True):
            np.testing.assert_allclose(W, V.detach().numpy(), rtol=1e-11, atol=1e-12)


def test_tensors_are_taken(torch, rng):
    X, Y, _, _ = draw(rng, 20, 3, 4, 1)
    net = MLP((3, 4, 1), dtype="float64")
    np.testing.assert_array_equal(net.predict(torch.from_numpy(X)), net.predict(X))
    assert net.loss(torch.from_numpy(X), torch.from_numpy(Y)) == net.loss(X, Y)


def test_model_file_is_a_state_dict(torch, rng, tmp_path):
    from safetensors.torch import load_file

    net = MLP((3, 4, 2), dtype="float64", seed=1)
    net.save(tmp_path / "net.safetensors")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    module.load_state_dict(load_file(tmp_path / "net.safetensors"))
    X = rng.normal(size=(20, 3))
    np.testing.assert_allclose(module(torch.from_numpy(X)).detach().numpy(), net.predict(X), rtol=1e-12)
