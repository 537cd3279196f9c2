import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import fastmlp
from fastmlp import MLP, Trainer, plot, reference
from fastmlp.training.state import History

SIZES = [(1, 1, 1), (3, 4, 1), (2, 3, 40), (8, 16, 3), (30, 100, 12)]
LONG = [f"a rather long name of feature {i}" for i in range(3)]


def boxes(ax):
    """What each text covers, with its frame, in pixels; all of it is inside the figure."""
    figure = ax.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    drawn = [(text.get_text(), text) for text in ax.texts if text.get_text()]
    covered = [(name, (text.get_bbox_patch() or text).get_window_extent(renderer)) for name, text in drawn]
    for name, box in covered:
        assert figure.bbox.x0 <= box.x0, name
        assert box.x1 <= figure.bbox.x1, name
        assert figure.bbox.y0 <= box.y0, name
        assert box.y1 <= figure.bbox.y1, name
    return covered


def assert_nothing_overlaps(ax):
    for (one, box), (other, covered) in itertools.combinations(boxes(ax), 2):
        assert not box.overlaps(covered), f"{one!r} covers {other!r}"


@pytest.mark.parametrize("sizes", SIZES)
def test_pictures_are_readable(sizes, rng):
    net = MLP(sizes, seed=1)
    ax = plot.network(net)
    assert_nothing_overlaps(ax)
    assert ax.figure.get_figwidth() <= 8
    X, Y = rng.normal(0, 1e-9, (7, sizes[0])), rng.normal(0, 1e9, (7, sizes[2]))
    ax = plot.graph(net, X, Y)
    assert_nothing_overlaps(ax)
    assert ax.figure.get_figwidth() <= 8


def test_network_shows_the_weights():
    net = MLP((2, 2, 1))
    W1, W2 = net.weights
    W1[:] = [[1, -2], [3, -4], [0.5, 0]]
    W2[:] = [[-1], [1], [2]]
    ax = plot.network(net, feature_names=["left", "right"], target_names=["sum"])
    edges = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert len(edges) == W1.size + W2.size
    by_weight = dict(zip((*W1.ravel(), *W2.ravel()), edges, strict=True))
    assert to_hex(by_weight[3.0].get_color()) == plot.POSITIVE
    assert to_hex(by_weight[-4.0].get_color()) == plot.NEGATIVE
    widths = [edge.get_linewidth() for edge in edges]
    for W, found in ((W1, widths[:6]), (W2, widths[6:])):
        np.testing.assert_allclose(found, 0.3 + 2.7 * np.abs(W.ravel()) / np.abs(W).max())
    texts = [text.get_text() for text in ax.texts]
    assert {"left", "right", "sum", "2 features", "2 hidden units, relu", "1 output"} <= set(texts)
    assert texts.count("1") == 2


def test_network_takes_the_names_it_carries():
    net = MLP((3, 2, 1))
    net.feature_names, net.target_names = LONG, ["fare"]
    ax = plot.network(net)
    assert_nothing_overlaps(ax)
    assert {*LONG, "fare"} <= {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="feature_names: must be 3 names, got 2"):
        plot.network(net, feature_names=["a", "b"])


def test_long_layers_are_cut_and_say_so():
    texts = [text.get_text() for text in plot.network(MLP((30, 100, 17))).texts]
    assert {"⋮ 14 more", "⋮ 84 more", "⋮ 1 more"} <= set(texts)


def test_graph_shows_the_nodes_of_the_reference(rng):
    net = MLP((3, 4, 1), dtype="float64", seed=2)
    X, y = rng.normal(size=(3, 3)), rng.normal(size=3)
    texts = [text.get_text() for text in plot.graph(net, X, y).texts]
    values = reference.graph(X, y.reshape(-1, 1), *net.weights)
    for name, value in values.items():
        (text,) = (text for text in texts if text.startswith(f"{name} ="))
        if value.ndim:
            assert str(value.shape) in text
            printed = np.array([float(number) for number in text.split("\n")[1].replace("…", "").split()])
            np.testing.assert_allclose(printed, value[0, :4], rtol=0.01)
        else:
            assert float(text.split("=")[-1]) == pytest.approx(value, rel=1e-3)
    derivatives = [text for text in texts if text.startswith("∂")]
    assert len(derivatives) == 11
    with pytest.raises(ValueError, match="X"):
        plot.graph(net, X[:, :2], y)


def test_losses(rng):
    X, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    history = Trainer(MLP((3, 4, 1)), seed=0).fit(X, y, epochs=5, validation_data=(X, y))
    ax = history.plot()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history.loss)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), history.validation_loss)
    assert ax.lines[2].get_xdata() == [history.best_epoch]
    with pytest.raises(ValueError, match="no epoch"):
        History().plot()


def test_draws_where_it_is_told():
    axes = Figure().subplots(1, 3)
    net = MLP((2, 2, 1))
    assert plot.network(net, ax=axes[0]) is axes[0]
    assert plot.graph(net, np.ones((2, 2)), np.ones(2), ax=axes[1]) is axes[1]
    assert plot.losses(History(loss=[1.0, 0.5]), ax=axes[2]) is axes[2]


def test_names_of_any_kind_of_sequence():
    net = MLP((2, 3, 1))
    for names in (["a", "b"], np.array(["a", "b"]), ("a", "b")):
        texts = {text.get_text() for text in fastmlp.plot.network(net, feature_names=names).texts}
        assert {"a", "b"} <= texts
    with pytest.raises(AttributeError, match="no attribute 'plod'"):
        _ = fastmlp.plod
