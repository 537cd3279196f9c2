"""Networks as ONNX models: `MLP.to_onnx`."""

import json

import numpy as np

from fastmlp import _extras
from fastmlp._config import __version__
from fastmlp.activations import ACTIVATIONS
from fastmlp.io.files import write_whole

OPSET, IR_VERSION = 13, 7  # what ONNX Runtime 1.6 of 2020 reads; nothing newer is needed

LINKS = {  # operators that make predictions of raw outputs
    "identity": (),
    "sorted": (),  # TopK, which has two results
    "exp": (("Exp", ("z",), {}),),
    "logistic": (("Sigmoid", ("z",), {}),),
    "softmax": (("Softmax", ("z",), {"axis": 1}),),
}


def write(net, path):
    """Write an ONNX file; see `MLP.to_onnx`."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ModuleNotFoundError as error:
        raise _extras.missing(error, "MLP.to_onnx", "onnx") from None

    real = TensorProto.FLOAT if net.dtype == np.float32 else TensorProto.DOUBLE
    nodes, tensors = [], {}

    def constant(number):
        name = f"constant_{number!r}"
        tensors[name] = np.array(number, net.dtype)
        return name

    def add(spelled, value, result):
        """The nodes of a row of a table, of which the last gives `result`."""
        made = []
        for i, (operator, inputs, attributes) in enumerate(spelled):
            name = result if i == len(spelled) - 1 else f"{result}_{i}"
            inputs = [
                value if of == "z" else made[of] if isinstance(of, int) else constant(of) for of in inputs
            ]
            nodes.append(helper.make_node(operator, inputs, [name], **attributes))
            made.append(name)

    value = "X"
    for layer, W in enumerate(net.weights, 1):
        tensors[f"W{layer}"], tensors[f"b{layer}"] = W[:-1], W[-1]
        last = layer == len(net.weights)
        spelled = LINKS[net.objective.link_name] if last else ACTIVATIONS[net.activations[layer - 1]].onnx
        sorts = last and net.objective.link_name == "sorted" and net.sizes[-1] > 1
        result = "prediction" if last else f"hidden{layer}"
        plain = not spelled and not sorts
        product = result if plain else f"{result}_preactivation"
        nodes.append(helper.make_node("Gemm", [value, f"W{layer}", f"b{layer}"], [product]))
        if sorts:  # the smallest first
            count = "number_of_outputs"
            tensors[count] = np.array([net.sizes[-1]], np.int64)
            nodes.append(
                helper.make_node("TopK", [product, count], [result, "places"], axis=1, largest=0, sorted=1)
            )
        elif spelled:
            add(spelled, product, result)
        value = result
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "fastmlp",
            [helper.make_tensor_value_info("X", real, ["rows", net.sizes[0]])],
            [helper.make_tensor_value_info("prediction", real, ["rows", net.sizes[-1]])],
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
