"""Against PyTorch, in float64. Run by `pytest -m torch`, and only there; without PyTorch they fail."""

from functools import partial

import numpy as np
import pytest
import sheet
from hypothesis import assume, given
from hypothesis import strategies as st

from fastmlp import MLP, SGD, Adam, AdamW, Trainer, activations, kernels, objectives, reference

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


ACTIVATIONS = list(activations.ACTIVATIONS)


def objective_loss(torch, objective, raw, y, w):
    """The weighted loss of raw outputs and targets as they are given, in PyTorch's operations."""
    F = torch.nn.functional
    if isinstance(objective, objectives.LogLoss):
        if y.ndim == 1:
            y = y.long()
        rows = F.cross_entropy(raw, y, reduction="none", label_smoothing=objective.label_smoothing)
        return (w * rows).sum() / w.sum()
    y = y.reshape(len(raw), -1)
    if isinstance(objective, objectives.SquaredError):
        each = F.mse_loss(raw, y, reduction="none")
    elif isinstance(objective, objectives.AbsoluteError):
        each = F.l1_loss(raw, y, reduction="none")
    elif isinstance(objective, objectives.Huber):
        each = F.huber_loss(raw, y, reduction="none", delta=objective.delta)
    elif isinstance(objective, objectives.Quantile):
        levels = torch.tensor(objective.levels, dtype=raw.dtype)
        each = torch.maximum(levels * (y - raw), (levels - 1) * (y - raw))
    elif isinstance(objective, objectives.Poisson):
        each = F.poisson_nll_loss(raw, y, reduction="none") + torch.special.xlogy(y, y) - y
    elif isinstance(objective, objectives.Gamma):
        each = y * torch.exp(-raw) + raw - torch.log(y) - 1
    else:
        smoothed = y * (1 - objective.label_smoothing) + objective.label_smoothing / 2
        each = F.binary_cross_entropy_with_logits(raw, smoothed, reduction="none")
    return (w * each.mean(dim=1)).sum() / w.sum()


CASES = {  # objective, outputs, targets of n rows
    "squared_error": (objectives.SquaredError(), 3, lambda rng, n: rng.normal(size=(n, 3))),
    "absolute_error": (objectives.AbsoluteError(), 2, lambda rng, n: rng.normal(size=(n, 2))),
    "huber": (objectives.Huber(0.7), 2, lambda rng, n: rng.normal(size=(n, 2))),
    "quantile": (objectives.Quantile((0.1, 0.5, 0.9)), 3, lambda rng, n: rng.normal(size=n)),
    "poisson": (objectives.Poisson(), 1, lambda rng, n: rng.poisson(2, size=n).astype(float)),
    "gamma": (objectives.Gamma(), 2, lambda rng, n: rng.gamma(2, size=(n, 2)) + 0.01),
    "binary_log_loss": (objectives.BinaryLogLoss(0.1), 2, lambda rng, n: rng.uniform(size=(n, 2))),
    "log_loss of classes": (objectives.LogLoss(), 4, lambda rng, n: rng.integers(0, 4, n).astype(float)),
    "log_loss of probabilities": (objectives.LogLoss(0.1), 4, lambda rng, n: rng.dirichlet(np.ones(4), n)),
}
every_case = pytest.mark.parametrize("case", CASES)
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


@every_case
@every_activation
@pytest.mark.parametrize("hidden", [(), (5,), (7, 17, 3, 6)], ids=str)
def test_every_activation_and_objective(torch, rng, case, activation, hidden):
    """Loss and gradients of every build to 1e-12 of the largest element, and the module's outputs."""
    objective, m, targets = CASES[case]
    n = 40
    net = MLP((4, *hidden, m), activation=activation, objective=objective, dtype="float64", seed=3)
    X, y, w = rng.normal(size=(n, 4)), targets(rng, n), rng.uniform(0.1, 1, n)
    module = net.to_torch()
    raw = module(torch.from_numpy(X))
    expected = objective_loss(torch, objective, raw, torch.from_numpy(y), torch.from_numpy(w))
    expected.backward()
    theirs = [
        np.vstack([layer.weight.grad.numpy().T, layer.bias.grad.numpy()])
        for layer in module
        if isinstance(layer, torch.nn.Linear)
    ]
    for build in kernels.AVAILABLE_ISAS:
        with kernels.use(build):
            np.testing.assert_allclose(
                net.predict(X, raw=True).reshape(n, m), raw.detach().numpy(), rtol=1e-12, atol=1e-12
            )
            loss, gradients = net.loss_and_gradients(X, y, sample_weight=w)
        assert abs(loss - expected.item()) <= 1e-12 * max(1, abs(expected.item()))
        for ours, grad in zip(gradients, theirs, strict=True):
            assert np.abs(ours - grad).max() <= 1e-12 * max(np.abs(grad).max(), 1e-3)


@every_activation
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(), (5,), (7, 3, 6)], ids=str)
def test_there_and_back(torch, activation, dtype, hidden):
    net = MLP((4, *hidden, 2), activation=activation, dtype=dtype, seed=1)
    module = net.to_torch()
    assert list(module.state_dict()) == [
        f"{2 * layer}.{part}" for layer in range(len(net.weights)) for part in ("weight", "bias")
    ]
    back = MLP.from_torch(module)
    assert (back.sizes, back.activations, back.dtype) == (net.sizes, net.activations, net.dtype)
    np.testing.assert_array_equal(back.parameters, net.parameters)


OPTIMIZERS = {
    "sgd": (SGD(0.05), "SGD", dict(lr=0.05)),
    "momentum": (SGD(0.05, momentum=0.9), "SGD", dict(lr=0.05, momentum=0.9)),
    "nesterov": (
        SGD(0.05, momentum=0.9, nesterov=True),
        "SGD",
        dict(lr=0.05, momentum=0.9, nesterov=True),
    ),
    "adam": (Adam(0.01), "Adam", dict(lr=0.01)),
    "adamw": (AdamW(0.01, weight_decay=0.1), "AdamW", dict(lr=0.01, weight_decay=0.1)),
}


@every_case
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ["tanh", ("relu", "gelu", "elu")], ids=str)
def test_ten_steps_of_a_deep_network(torch, rng, case, optimizer, activation):
    objective, m, targets = CASES[case]
    ours, theirs, settings = OPTIMIZERS[optimizer]
    n = 50
    net = MLP((4, 8, 17, 6, m), activation=activation, objective=objective, dtype="float64", seed=2)
    X, y = rng.normal(size=(n, 4)), targets(rng, n)
    module = net.to_torch()
    stepper = getattr(torch.optim, theirs)(module.parameters(), **settings)
    trainer = Trainer(net, ours, batch_size=None)
    X_, y_, w_ = torch.from_numpy(X), torch.from_numpy(y), torch.ones(n, dtype=torch.float64)
    for _ in range(10):
        stepper.zero_grad()
        objective_loss(torch, objective, module(X_), y_, w_).backward()
        stepper.step()
        trainer.fit(X, y, epochs=1)
    np.testing.assert_allclose(net.parameters, MLP.from_torch(module).parameters, rtol=1e-9, atol=1e-11)


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
