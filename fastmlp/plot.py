"""Pictures (extra ``plot``): of a network, of its computation graph, of a fit's losses.

Each function draws into the axes it is given, or into a new figure of fitting size, and returns the axes;
``axes.figure.savefig(path)`` writes the picture. No window is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmlp import _checks, _extras

try:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
except ModuleNotFoundError as error:
    raise _extras.missing(error, "fastmlp.plot", "plot") from None

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from fastmlp.network import MLP
    from fastmlp.training.state import History

POSITIVE, NEGATIVE, PLAIN = "#0072b2", "#d55e00", "#444444"  # can be told apart by the colour-blind
SHOWN = 16  # units of a layer; of a longer one the first are drawn, and how many are not
SPACING, BETWEEN = 0.42, 2.4  # inches between units, and between layers


def network(
    net: MLP,
    feature_names: Sequence[str] | None = None,
    target_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a network: its units, bias units and weights.

    Parameters
    ----------
    net : MLP
    feature_names, target_names : sequence of str, optional
        What is written next to the inputs and outputs; None: those that the network carries, or x1, x2, … and
        ŷ1, ŷ2, ….
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Edges are blue where a weight is positive and orange where it is negative; their width is the size
        of the weight among those of its matrix. Of a layer of more than 16 units the first are drawn.

    Raises
    ------
    ValueError
        There are not as many names as features or outputs.

    Examples
    --------
    >>> import fastmlp, fastmlp.plot
    >>> ax = fastmlp.plot.network(fastmlp.MLP((3, 4, 1)), feature_names=["age", "class", "survived"])
    >>> len(ax.texts) >= 10
    True
    """
    d, *_, m = net.sizes
    if target_names is None and net.target_names is not None and len(net.target_names) == m:
        target_names = net.target_names  # else they are those of the one target of several outputs
    inputs = _names("feature_names", net.feature_names if feature_names is None else feature_names, d, "x")
    outputs = _names("target_names", target_names, m, "ŷ")
    layers = [_places(size, bias=layer < len(net.sizes) - 1) for layer, size in enumerate(net.sizes)]
    width = BETWEEN * (len(layers) - 1)
    kinds = ["feature{}", *(f"hidden unit{{}}, {name}" for name in net.activations), "output{}"]
    left, right = (0.09 * max(map(len, names)) + 0.35 for names in (inputs, outputs))
    top = max(max(layer.values()) for layer in layers)
    if ax is None:
        ax = _axes(left + width + right, 2 * top + 1.3)
    ax.set(xlim=(-left, width + right), ylim=(-top - 0.7, top + 0.6))
    ax.axis("off")
    for layer, W in enumerate(net.weights):
        _edges(ax, BETWEEN * layer, layers[layer], layers[layer + 1], W)
        name = f"$W^{{({layer + 1})}}$"
        ax.text(BETWEEN * (layer + 0.5), -top - 0.45, name, ha="center", va="center", fontsize=11)
    for layer, (places, size, kind) in enumerate(zip(layers, net.sizes, kinds, strict=True)):
        x = BETWEEN * layer
        for unit, y in places.items():
            _unit(ax, x, y, "1" if unit == "bias" else "")
        if size > SHOWN:
            y = places[SHOWN - 1] - SPACING
            ax.text(x, y, f"⋮ {size - SHOWN} more", ha="center", va="center", fontsize=9)
        caption = f"{size} {kind.format('s' * (size > 1))}"
        ax.text(x, -top - 0.45, caption, ha="center", va="center", fontsize=9, color=PLAIN)
    for unit, name in enumerate(inputs[:SHOWN]):
        ax.text(-0.17, layers[0][unit], name, ha="right", va="center", fontsize=10)
    for unit, name in enumerate(outputs[:SHOWN]):
        ax.text(width + 0.17, layers[-1][unit], name, ha="left", va="center", fontsize=10)
    signs = [Line2D([], [], color=colour, linewidth=2) for colour in (POSITIVE, NEGATIVE)]
    middle = (width / 2 + left) / (width + left + right)
    ax.legend(
        signs,
        ["positive", "negative"],
        loc="upper center",
        bbox_to_anchor=(middle, 1),
        ncols=2,
        frameon=False,
    )
    return ax


def _names(argument, names, count, letter):
    if names is None:
        return [letter] if count == 1 else [f"{letter}{i + 1}" for i in range(count)]
    if len(names) != count:
        raise ValueError(f"{argument}: must be {count} names, got {len(names)}")
    return [str(name).replace("$", r"\$") for name in names]  # no formulas


def _places(size, bias):
    """The height at which each unit that is shown stands; the bias unit below the others."""
    units = [*range(min(size, SHOWN)), *["more"] * (size > SHOWN), *["bias"] * bias]
    places = {unit: SPACING * ((len(units) - 1) / 2 - row) for row, unit in enumerate(units)}
    return {unit: y for unit, y in places.items() if unit != "more"}


def _edges(ax, x, sources, targets, W):
    W = np.nan_to_num(W)
    sizes = np.abs(W) / (np.abs(W).max() or 1)
    for source, y0 in sources.items():
        row = len(W) - 1 if source == "bias" else source
        for target, y1 in targets.items():
            if target == "bias":
                continue
            size = sizes[row, target]
            ax.plot(
                [x, x + BETWEEN],
                [y0, y1],
                color=POSITIVE if W[row, target] > 0 else NEGATIVE,
                linewidth=0.3 + 2.7 * size,
                alpha=0.25 + 0.65 * size,
                zorder=1,
                solid_capstyle="butt",
            )


def _unit(ax, x, y, text):
    ax.plot([x], [y], "o", markersize=17, color="white", markeredgecolor=PLAIN, zorder=2)
    ax.text(x, y, text, ha="center", va="center", fontsize=9, zorder=3)


def _axes(width, height):
    """Axes as large as their figure; a unit of their limits is an inch."""
    return Figure(figsize=(width, height)).add_axes((0, 0, 1, 1))


# What each node is made of, and the local derivative on the edge from each of the nodes it is made of.
NODES = {
    "A": ("[X, 1]", {}),
    "B": ("A W1", {"A": "∂B/∂A = W1ᵀ", "W1": "∂B/∂W1 = Aᵀ"}),
    "C": ("ReLU(B)", {"B": "∂C/∂B = 1[B > 0]"}),
    "D": ("[C, 1]", {"C": "∂D/∂C: all but the column of ones"}),
    "E": ("D W2", {"D": "∂E/∂D = W2ᵀ", "W2": "∂E/∂W2 = Dᵀ"}),
    "F": ("E − Y", {"E": "∂F/∂E = 1", "Y": "∂F/∂Y = −1"}),
    "G": ("F²", {"F": "∂G/∂F = 2F"}),
    "H": ("Σ G", {"G": "∂H/∂G = 1"}),
    "L": ("H / (n m)", {"H": "∂L/∂H = 1/(n m)"}),
}
LINE, CHARACTER = 0.165, 0.07  # inches, of the font in the boxes
GAP, BESIDE = 0.42, 1.1  # inches: the edge between two boxes, and that from a box beside
ROWS, COLUMNS = 3, 4  # of an array that are printed


def graph(net: MLP, X: ArrayLike, y: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw the computation graph of the loss, node by node, with shapes, values and local derivatives.

    The nodes are those of the exercise sheet, A … L, with the parameters and targets beside them; formulas
    are in `fastmlp.reference.graph`.

    Parameters
    ----------
    net : MLP
    X : (n, d) array_like
    y : (n, m) array_like; for one output also (n,)
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Of larger arrays the first 3 rows and 4 columns are printed.

    Raises
    ------
    TypeError, ValueError
        `X` or `y` is not an array of real numbers, or of the wrong shape.

    Examples
    --------
    >>> import fastmlp, fastmlp.plot
    >>> ax = fastmlp.plot.graph(fastmlp.MLP((1, 2, 1)), [[1.0], [2.0]], [3.0, 4.0])
    >>> sum("∂" in text.get_text() for text in ax.texts)
    11
    """
    from fastmlp import reference  # the formulas' only home; nothing is trained with it

    if len(net.weights) != 2 or net.activations != ("relu",) or net.objective.name != "squared_error":
        raise ValueError(f"net: the graph is of one hidden layer with relu and squared_error, got {net}")
    X, Y, _ = _checks.data(X, y, None, net.dtype, net.sizes[0], net.sizes[-1], net.objective)
    W1, W2 = net.weights
    values = reference.graph(X, Y, W1, W2)
    boxes = {name: _box_text(f"{name} = {NODES[name][0]}", value) for name, value in values.items()}
    beside = {name: _box_text(name, value) for name, value in (("W1", W1), ("W2", W2), ("Y", Y))}
    widths, heights = (
        {name: size(text) for name, text in (boxes | beside).items()} for size in (_width, _height)
    )
    left, right = (max(widths[name] for name in names) / 2 for names in (beside, boxes))
    x = 2 * left + BESIDE + right  # of the chain; what stands beside it has its middle at `left`
    total = sum(heights[name] for name in boxes) + GAP * (len(boxes) - 1)
    if ax is None:
        ax = _axes(x + max(right, 2.2) + 0.2, total + 0.2)
    ax.set(xlim=(-0.1, x + max(right, 2.2) + 0.1), ylim=(-total - 0.1, 0.1))
    ax.axis("off")
    top, before = 0.0, None
    for name, text in boxes.items():
        y = top - heights[name] / 2
        _box(ax, x, y, text, "#eaf2f8")
        for source, derivative in NODES[name][1].items():
            if source == before:
                _arrow(ax, (x, top + GAP), (x, top))
                ax.text(x + 0.1, top + GAP / 2, derivative, va="center", fontsize=8, color=POSITIVE)
            else:
                _box(ax, left, y, beside[source], "#fdf1e7")
                start, end = left + widths[source] / 2, x - widths[name] / 2
                _arrow(ax, (start, y), (end, y))
                middle = (start + end) / 2
                ax.text(middle, y + 0.05, derivative, ha="center", fontsize=8, color=NEGATIVE)
        before, top = name, top - heights[name] - GAP
    return ax


def _width(text):
    return CHARACTER * (max(map(len, text.splitlines())) + 1.5)


def _height(text):
    return LINE * (text.count("\n") + 2)


def _box(ax, x, y, text, colour):
    style = {"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": PLAIN, "linewidth": 0.8}
    ax.text(x, y, text, ha="center", va="center", fontsize=8, family="monospace", bbox=style, zorder=2)


def _arrow(ax, start, end):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": PLAIN, "shrinkA": 0, "shrinkB": 2})


def _box_text(label, value):
    """The label with the shape, and below it the first numbers."""
    value = np.asarray(value)
    if value.ndim == 0:
        return f"{label} = {value:.4g}"
    numbers = [[f"{number:.3g}" for number in row[:COLUMNS]] for row in value[:ROWS]]
    width = max(len(number) for row in numbers for number in row)
    more = " …" * (value.shape[1] > COLUMNS)
    rows = [" ".join(number.rjust(width) for number in row) + more for row in numbers]
    return "\n".join([f"{label}  {value.shape}", *rows, *["…"] * (len(value) > ROWS)])


def losses(history: History, ax: Axes | None = None) -> Axes:
    """Draw the losses of a fit; `History.plot` is this function.

    Parameters
    ----------
    history : History
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        The loss of each epoch, of the training data and, if there are any, of the validation data; a mark
        at the best epoch.

    Raises
    ------
    ValueError
        The history holds no epoch.
    """
    if not history.loss:
        raise ValueError("history: holds no epoch, so there is nothing to draw")
    ax = ax or Figure(figsize=(6, 3.6), layout="constrained").subplots()
    ax.plot(history.loss, label="training rows")
    if history.validation_loss:
        ax.plot(history.validation_loss, label="held-out rows")
    best = history.best_epoch
    if best is not None:
        curve = history.validation_loss or history.loss
        ax.plot([best], [curve[best]], "o", color=PLAIN, markersize=5, label=f"best: epoch {best}")
    positive = max(history.loss + history.validation_loss) > 0
    ax.set(xlabel="epoch", ylabel="loss", yscale="log" if positive else "linear")
    ax.legend(frameon=False)
    return ax
