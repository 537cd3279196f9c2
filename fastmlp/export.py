"""Networks in the forms that other programs take: the methods `to_…` and `from_…` of MLP."""

import json
import re

import numpy as np

from fastmlp import _extras
from fastmlp._config import __version__
from fastmlp._files import write_whole

OPSET, IR_VERSION = 13, 7  # what ONNX Runtime 1.6 of 2020 reads; nothing newer is needed

C_FILE = """\
/* A network with {d} features, {h} hidden units (ReLU) and {m} outputs, written by fastmlp {version}.
 * C99, without dependencies.
 *
 * features: {features}
 * outputs:  {targets}
 */
#include <stddef.h>

static const {real} {name}_W1[{h}][{d}] = {W1};
static const {real} {name}_b1[{h}] = {b1};
static const {real} {name}_W2[{h}][{m}] = {W2};
static const {real} {name}_b2[{m}] = {b2};

void {name}_predict(const {real} *x, {real} *y);
void {name}_predict_rows(const {real} *x, {real} *y, size_t n);

/* y[0..{last_output}], the outputs for the features x[0..{last_feature}]. A NaN stays a NaN. */
void {name}_predict(const {real} *x, {real} *y)
{{
    int j, k, o;
    {real} c;

    for (o = 0; o < {m}; o++)
        y[o] = {name}_b2[o];
    for (j = 0; j < {h}; j++) {{
        c = {name}_b1[j];
        for (k = 0; k < {d}; k++)
            c += {name}_W1[j][k] * x[k];
        c = c < 0 ? 0 : c;
        for (o = 0; o < {m}; o++)
            y[o] += {name}_W2[j][o] * c;
    }}
}}

/* The same for n rows, one after the other. */
void {name}_predict_rows(const {real} *x, {real} *y, size_t n)
{{
    size_t i;

    for (i = 0; i < n; i++)
        {name}_predict(x + i * {d}, y + i * {m});
}}
"""


def to_c(net, path, name):
    """Write a C file; see `MLP.to_c`."""
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(f"name: must be a C identifier that begins with a letter, got {name!r}")
    if not np.isfinite(net.parameters).all():
        raise ValueError("the network's parameters hold NaN or infinity, which C has no constants for")
    d, h, m = net.sizes
    (W1, W2), single = net.weights, net.dtype == np.float32
    text = C_FILE.format(
        **{"d": d, "h": h, "m": m, "last_feature": d - 1, "last_output": m - 1},
        **{"version": __version__, "name": name, "real": "float" if single else "double"},
        features=_comment(net.feature_names),
        targets=_comment(net.target_names),
        W1=_initializer(W1[:-1].T, single),
        b1=_initializer(W1[-1], single),
        W2=_initializer(W2[:-1], single),
        b2=_initializer(W2[-1], single),
    )
    write_whole(path, text.encode())


def _comment(names):
    """Names as one line of ASCII that cannot end the comment it stands in."""
    return "not named" if names is None else json.dumps(names)[1:-1].replace("*/", "* /")


def _initializer(array, single):
    """Hexadecimal constants: the same bits in C."""
    if array.ndim > 1:
        return "{\n" + ",\n".join(_initializer(row, single) for row in array) + "}"
    return "{" + ", ".join(float(value).hex() + "f" * single for value in array) + "}"


def to_onnx(net, path):
    """Write an ONNX file; see `MLP.to_onnx`."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ModuleNotFoundError as error:
        raise _extras.missing(error, "MLP.to_onnx", "onnx") from None

    d, _, m = net.sizes
    real = TensorProto.FLOAT if net.dtype == np.float32 else TensorProto.DOUBLE
    tensors = {}
    for layer, W in zip("12", net.weights, strict=True):
        tensors[f"W{layer}"], tensors[f"b{layer}"] = W[:-1], W[-1]
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gemm", ["X", "W1", "b1"], ["B"]),
                helper.make_node("Relu", ["B"], ["C"]),
                helper.make_node("Gemm", ["C", "W2", "b2"], ["E"]),
            ],
            "fastmlp",
            [helper.make_tensor_value_info("X", real, ["rows", d])],
            [helper.make_tensor_value_info("E", real, ["rows", m])],
            [numpy_helper.from_array(np.ascontiguousarray(tensor), name) for name, tensor in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fastmlp",
        producer_version=__version__,
    )
    names = {"feature_names": net.feature_names, "target_names": net.target_names}
    helper.set_model_props(model, {key: json.dumps(value) for key, value in names.items() if value})
    write_whole(path, model.SerializeToString())


def to_torch(net):
    """Return a module; see `MLP.to_torch`."""
    torch = _torch("MLP.to_torch")
    d, h, m = net.sizes
    module = torch.nn.Sequential(torch.nn.Linear(d, h), torch.nn.ReLU(), torch.nn.Linear(h, m))
    module = module.to(getattr(torch, str(net.dtype)))
    with torch.no_grad():
        for layer, W in zip((module[0], module[2]), net.weights, strict=True):
            layer.weight.copy_(torch.tensor(W[:-1].T))
            layer.bias.copy_(torch.tensor(W[-1]))
    return module


def from_torch(create, module):
    """Return ``create(sizes, dtype=dtype)`` with the weights of a module; see `MLP.from_torch`."""
    torch = _torch("MLP.from_torch")
    nn = torch.nn
    layers = list(module) if isinstance(module, nn.Sequential) else []
    if [type(layer) for layer in layers] != [nn.Linear, nn.ReLU, nn.Linear]:
        raise TypeError(f"module: must be a Sequential(Linear, ReLU, Linear), got {module!r}")
    first, _, last = layers
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in module.parameters()}
    if first.out_features != last.in_features or len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(
            f"module: its layers must fit, and be all float32 or all float64; got {module!r} of "
            f"{' and '.join(sorted(dtypes))}"
        )
    net = create((first.in_features, first.out_features, last.out_features), dtype=dtypes.pop())
    for layer, W in zip((first, last), net.weights, strict=True):
        W[:-1] = layer.weight.detach().cpu().numpy().T
        W[-1] = 0 if layer.bias is None else layer.bias.detach().cpu().numpy()
    net.trained = True
    return net


def _torch(what):
    try:
        import torch
    except ModuleNotFoundError as error:
        raise _extras.missing(error, what, "torch") from None
    return torch
