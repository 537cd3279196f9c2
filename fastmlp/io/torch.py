"""Networks as PyTorch modules of the raw outputs, and back: `MLP.to_torch` and `MLP.from_torch`."""

import itertools

from fastmlp import _extras
from fastmlp.activations import ACTIVATIONS


def module(net):
    """Return a module; see `MLP.to_torch`."""
    torch = _torch("MLP.to_torch")
    layers = []
    for layer, W in enumerate(net.weights):
        linear = torch.nn.Linear(len(W) - 1, W.shape[1], dtype=getattr(torch, str(net.dtype)))
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(W[:-1].T))
            linear.bias.copy_(torch.tensor(W[-1]))
        layers.append(linear)
        if layer < len(net.activations):
            name, arguments = ACTIVATIONS[net.activations[layer]].torch
            layers.append(getattr(torch.nn, name)(**arguments))
    return torch.nn.Sequential(*layers)


def network(mlp_class, module, objective):
    """Return a network with the weights of a module; see `MLP.from_torch`."""
    torch = _torch("MLP.from_torch")
    linear, names = _layers(torch, module)
    fits = all(a.out_features == b.in_features for a, b in itertools.pairwise(linear))
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in module.parameters()}
    if not fits or len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(
            f"module: its layers must fit, and be all float32 or all float64; got {module!r} of "
            f"{' and '.join(sorted(dtypes))}"
        )
    sizes = (linear[0].in_features, *(layer.out_features for layer in linear))
    net = mlp_class._like(None, sizes, names, objective, dtypes.pop())
    for layer, W in zip(linear, net.weights, strict=True):
        W[:-1] = layer.weight.detach().cpu().numpy().T
        W[-1] = 0 if layer.bias is None else layer.bias.detach().cpu().numpy()
    net.trained = True
    return net


def _layers(torch, module):
    """(linear layers, names of the activations between them) of a module."""
    linear, names = [], []
    for layer in module if isinstance(module, torch.nn.Sequential) else ():
        if isinstance(layer, torch.nn.Linear):
            if len(names) < len(linear):  # two layers with nothing between them
                names.append("identity")
            linear.append(layer)
        else:
            name = _activation(torch, layer)
            if name is None or len(names) >= len(linear):
                linear = []
                break
            names.append(name)
    if not linear or len(names) != len(linear) - 1:
        raise TypeError(
            "module: must be a Sequential of Linear layers with one activation of "
            f"{', '.join(ACTIVATIONS)} between each two, got {module!r}"
        )
    return linear, tuple(names)


def _activation(torch, layer):
    """The name of the activation that a layer calculates; None for another layer."""
    for name, row in ACTIVATIONS.items():
        kind, arguments = row.torch
        of_interest = {key: value for key, value in arguments.items() if key != "threshold"}
        if type(layer) is getattr(torch.nn, kind) and all(
            getattr(layer, key) == value for key, value in of_interest.items()
        ):
            # softplus is linear above PyTorch's threshold: above 20, its default, float32 sees no curve
            other = getattr(layer, "beta", 1) != 1 or getattr(layer, "threshold", 20) < 20
            return None if other else name
    return None


def _torch(what):
    try:
        import torch
    except ModuleNotFoundError as error:
        raise _extras.missing(error, what, "torch") from None
    return torch
