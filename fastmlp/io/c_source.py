"""Networks as one C99 file: `MLP.to_c`."""

import json
import re

import numpy as np

from fastmlp._config import __version__
from fastmlp.activations import ACTIVATIONS
from fastmlp.io.files import write_whole

FILE = """\
/* A network of sizes {sizes}, written by fastmlp {version}.
 * C99, without dependencies.
 *
 * features:   {features}
 * outputs:    {targets}
 * activation: {activations}
 * objective:  {objective}
 */
#include <math.h>
#include <stddef.h>

{weights}

void {name}_predict(const {real} *x, {real} *y);
void {name}_predict_rows(const {real} *x, {real} *y, size_t n);

/* y[0..{last_output}], the predictions for the features x[0..{last_feature}]. A NaN stays a NaN. */
void {name}_predict(const {real} *x, {real} *y)
{{
{body}
}}

/* The same for n rows, one after the other. */
void {name}_predict_rows(const {real} *x, {real} *y, size_t n)
{{
    size_t i;

    for (i = 0; i < n; i++)
        {name}_predict(x + i * {d}, y + i * {m});
}}
"""

LAYER = """\
    for (j = 0; j < {n_out}; j++) {{
        z = {name}_b{layer}[j];
        for (k = 0; k < {n_in}; k++)
            z += {name}_W{layer}[j][k] * {input}[k];
        {output}[j] = {value};
    }}"""

LINKS = {  # what makes predictions of raw outputs y, of which there are {m}
    "identity": "",
    "sorted": """
    for (k = {m} - 1; k > 0; k--)
        for (j = 0; j < k; j++)
            if (y[j + 1] < y[j]) {{
                z = y[j];
                y[j] = y[j + 1];
                y[j + 1] = z;
            }}""",
    "exp": """
    for (j = 0; j < {m}; j++)
        y[j] = exp{f}(y[j]);""",
    "logistic": """
    for (j = 0; j < {m}; j++)
        y[j] = 1 / (1 + exp{f}(-y[j]));""",
    "softmax": """
    z = y[0];
    for (j = 1; j < {m}; j++)
        z = y[j] > z ? y[j] : z;
    for (j = 0; j < {m}; j++)
        y[j] = exp{f}(y[j] - z);
    z = 0;
    for (j = 0; j < {m}; j++)
        z += y[j];
    for (j = 0; j < {m}; j++)
        y[j] /= z;""",
}


def write(net, path, name):
    """Write a C file; see `MLP.to_c`."""
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(f"name: must be a C identifier that begins with a letter, got {name!r}")
    if not np.isfinite(net.parameters).all():
        raise ValueError("the network's parameters hold NaN or infinity, which C has no constants for")
    single = net.dtype == np.float32
    spelling = {"real": "float" if single else "double", "f": "f" if single else "", "m": net.sizes[-1]}
    hidden = net.sizes[1:-1]
    body = ["    int j, k;", "    {real} z;".format(**spelling)]
    body += [f"    {spelling['real']} a{layer}[{units}];" for layer, units in enumerate(hidden, 1)]
    body.append("")
    weights = []
    for layer, W in enumerate(net.weights, 1):
        n_in, n_out = len(W) - 1, W.shape[1]
        last = layer == len(net.weights)
        weights.append(
            f"static const {spelling['real']} {name}_W{layer}[{n_out}][{n_in}] = "
            f"{_initializer(W[:-1].T, single)};"
        )
        weights.append(
            f"static const {spelling['real']} {name}_b{layer}[{n_out}] = {_initializer(W[-1], single)};"
        )
        value = "z" if last else ACTIVATIONS[net.activations[layer - 1]].c.format(**spelling)
        body.append(
            LAYER.format(
                **{"n_in": n_in, "n_out": n_out, "name": name, "layer": layer, "value": value},
                input="x" if layer == 1 else f"a{layer - 1}",
                output="y" if last else f"a{layer}",
            )
        )
    text = FILE.format(
        **{"sizes": "-".join(map(str, net.sizes)), "d": net.sizes[0], "m": net.sizes[-1]},
        **{"last_feature": net.sizes[0] - 1, "last_output": net.sizes[-1] - 1},
        **{"version": __version__, "name": name, "real": spelling["real"]},
        features=_comment(net.feature_names),
        targets=_comment(net.target_names),
        activations=", ".join(net.activations) or "none",
        objective=net.objective,
        weights="\n".join(weights),
        body="\n".join(body) + LINKS[net.objective.link_name].format(**spelling),
    )
    write_whole(path, text.encode())


def _comment(names):
    """Names as one line of ASCII that neither ends the comment it stands in nor begins another."""
    if names is None:
        return "not named"
    return json.dumps(names)[1:-1].replace("*/", "* /").replace("/*", "/ *")


def _initializer(array, single):
    """Hexadecimal constants: the same bits in C."""
    if array.ndim > 1:
        return "{\n" + ",\n".join(_initializer(row, single) for row in array) + "}"
    return "{" + ", ".join(float(value).hex() + "f" * single for value in array) + "}"
