"""The report of benchmarks.peers as a picture: a row for each case, a mark for each peer."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks import comparison, grid
from benchmarks.competitors import OURS
from fastmlp.cli import readable

MARKS = {  # colours that the colour-blind can tell apart (Okabe and Ito), and a shape for each
    "NumPy": ("#999999", "s"),
    "numba": ("#009e73", "D"),
    "numba, rows": ("#009e73", "d"),
    "JAX scan": ("#0072b2", "^"),
    "JAX scan, rows": ("#0072b2", ">"),
    "JAX jit": ("#56b4e9", "v"),
    "torch.compile": ("#d55e00", "<"),
    "PyTorch": ("#e69f00", "o"),
    "scikit-learn": ("#cc79a7", "X"),
    "ONNX Runtime": ("#000000", "P"),
}
ROW, TITLE, LEGEND = 0.19, 0.36, 1.1  # inches


def draw(report, path, groups=comparison.GROUPS):
    """Write a picture of these groups of the report to a file whose ending says in which format."""
    panels = {}
    for case in report["cases"]:
        if case["group"] in groups:
            panels.setdefault(comparison.panel(case), []).append(case)
    shown = {name for cases in panels.values() for case in cases for name in case["ratios"]}
    rows = [len(cases) for cases in panels.values()]
    figure = Figure(figsize=(8.2, LEGEND + sum(ROW * n + TITLE for n in rows)), layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=rows)[:, 0]
    for ax, (title, cases) in zip(axes, panels.items(), strict=True):
        _panel(ax, title, cases)
    axes[0].text(1.01, 1.02, OURS, transform=axes[0].transAxes, fontsize=8)
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}×"))
    threads = "one thread" if report["threads"] == 1 else f"{report['threads']} threads"
    axes[-1].set_xlabel(f"time as a multiple of {OURS}'s ({threads}); left of the line a peer is faster")
    handles = {
        name: axes[0].plot([], [], mark, **_style(colour))[0]
        for name, (colour, mark) in MARKS.items()
        if name in shown
    }
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)


def _panel(ax, title, cases):
    places = range(len(cases))
    ax.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
    ax.axvline(1, color="black", linewidth=1.2)
    ax.hlines(places, 0, 1, transform=ax.get_yaxis_transform(), color="0.9", linewidth=0.8, zorder=0)
    for name, (colour, mark) in MARKS.items():
        points = [(case["ratios"][name], k) for k, case in enumerate(cases) if name in case["ratios"]]
        if points:
            ax.plot(*zip(*points, strict=True), mark, **_style(colour))
    ax.set_yticks(places, [grid.step_name(case).replace(" n=", ", n = ") for case in cases], fontsize=8)
    ax.set(xscale="log", ylim=(len(cases) - 0.4, -0.6))
    ours = ax.secondary_yaxis("right")
    ours.set_yticks(places, [readable(case["seconds"][OURS]) for case in cases], fontsize=8)
    for side in (ax, ours):
        side.tick_params(axis="y", length=0)
        side.spines[:].set_visible(False)


def _style(colour):
    return {"color": colour, "markersize": 6.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
