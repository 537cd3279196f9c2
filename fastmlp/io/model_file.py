"""Model files: safetensors whose tensors are the state dict of PyTorch's Sequential (docs/model-files.md).

Version 1, of one hidden layer with ReLU and squared error, is still read.
"""

import json
import os
import warnings

import numpy as np

from fastmlp import _checks, activations, objectives
from fastmlp.io import files

FORMAT = "fastmlp"
VERSIONS = 1, 2


def tensor_names(layers):
    """The names of weight and bias of each layer: between two of them stands an activation."""
    return [(f"{2 * layer}.weight", f"{2 * layer}.bias") for layer in range(layers)]


def save(net, path):
    """Write a network; see `MLP.save`."""
    tensors = {}
    for (weight, bias), W in zip(tensor_names(len(net.weights)), net.weights, strict=True):
        tensors[weight] = np.ascontiguousarray(W[:-1].T)
        tensors[bias] = np.ascontiguousarray(W[-1])
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSIONS[-1]),
        "sizes": json.dumps(net.sizes),
        "activations": json.dumps(net.activations),
        "objective": json.dumps(objectives.described(net.objective)),
        "dtype": str(net.dtype),
        "feature_names": json.dumps(net.feature_names),
        "target_names": json.dumps(net.target_names),
    }
    files.save_tensors(path, tensors, metadata)


def load(mlp_class, path):
    """Read a network; see `MLP.load`."""

    def build(tensors, metadata):
        sizes, activation, objective, dtype, names = parse_header(tensors, metadata)
        net = mlp_class._like(None, sizes, activation, objective, dtype)
        for (weight, bias), W in zip(tensor_names(len(net.weights)), net.weights, strict=True):
            W[:-1] = tensors[weight].T
            W[-1] = tensors[bias]
        for attribute, read in names.items():
            try:
                setattr(net, attribute, read)
            except ValueError as error:  # of a file from before names were checked: the weights are good
                warnings.warn(f"{os.fspath(path)}: {error}; left out", stacklevel=5)
        net.trained = True
        return net

    return files.load_tensors(path, FORMAT, VERSIONS, build)


def parse_dtype(name):
    """Return the dtype that a file names. NumPy would take more, and has Python parse some of it."""
    if name not in [str(dtype) for dtype in _checks.DTYPES]:
        raise ValueError(f"dtype: must be float32 or float64, got {name!r}")
    return np.dtype(name)


def parse_names(names):
    """Return what a file holds as names: strings in a list, or None."""
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError(f"names must be a list of strings, got {names!r}")
    return names


def parse_header(tensors, metadata):
    """(sizes, activations, objective, dtype, names by attribute) of the metadata; they fit the tensors."""
    sizes = _checks.sizes(json.loads(metadata["sizes"]))
    dtype = parse_dtype(metadata["dtype"])
    names = {key: parse_names(json.loads(metadata[key])) for key in ("feature_names", "target_names")}
    if metadata["format_version"] == "1":
        if len(sizes) != 3:
            raise ValueError(f"sizes {sizes}, and a file of version 1 has 3")
        activation, objective = ("relu",), objectives.SquaredError()
    else:
        # the tensors say how many layers there really are, before a list of their names is made
        if len(tensors) != 2 * (len(sizes) - 1):
            raise ValueError(f"{len(tensors)} tensors do not fit its sizes {sizes}")
        activation = activations.resolve(tuple(json.loads(metadata["activations"])), len(sizes) - 2)
        objective = objectives.from_description(json.loads(metadata["objective"]))
    wanted = {}
    for layer, (weight, bias) in enumerate(tensor_names(len(sizes) - 1)):
        wanted[weight], wanted[bias] = (sizes[layer + 1], sizes[layer]), (sizes[layer + 1],)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != wanted:
        raise ValueError(f"tensors {shapes} do not fit its sizes {sizes}, which need {wanted}")
    dtypes = {str(tensor.dtype) for tensor in tensors.values()}
    if dtypes != {str(dtype)}:
        raise ValueError(f"tensors of dtype {', '.join(sorted(dtypes))}, and its metadata say {dtype}")
    return sizes, activation, objective, dtype, names
