"""The report of benchmarks.roofline as a picture: a row for each case, a mark for each build."""

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks import grid

MARKS = {  # colours that the colour-blind can tell apart (Okabe and Ito); a ring, for what lies under it
    "baseline": {"marker": "s", "color": "#999999", "markersize": 6},
    "avx2": {"marker": "D", "color": "#e69f00", "markersize": 5},
    "avx512": {"marker": "o", "color": "#0072b2", "markersize": 9, "markerfacecolor": "none"},
}
ROW, AROUND = 0.23, 1.3  # inches


def draw(report, path):
    """Write a picture of the report to a file whose ending says in which format."""
    steps, peaks = report["steps"], report["peaks"]
    figure = Figure(figsize=(8.2, AROUND + ROW * len(steps)), layout="constrained")
    panels = figure.subplots(1, len(peaks), sharex=True, sharey=True)
    for ax, dtype in zip(panels, peaks, strict=True):
        _panel(ax, dtype, peaks[dtype], steps)
    names = [grid.step_name(step) for step in steps]
    panels[0].set_yticks(range(len(steps)), names, fontsize=8.5)
    panels[0].set(xlim=(0, 1), ylim=(len(steps) - 0.4, -0.6))
    label = "fraction of the build's own roof (multiply-adds or memory); right: GF/s of the fastest build"
    figure.supxlabel(label, fontsize=9)
    handles, builds = panels[0].get_legend_handles_labels()
    figure.legend(handles, builds, loc="outside upper center", ncols=len(builds), frameon=False)
    figure.savefig(path, dpi=150)


def _panel(ax, dtype, peaks, steps):
    places = range(len(steps))
    fastest = max(peaks, key=peaks.get)
    ax.set_title(f"{dtype}: at most {peaks[fastest]:.0f} GF/s", fontsize=9.5, loc="left", fontweight="bold")
    ax.hlines(places, 0, 1, color="0.9", linewidth=0.8, zorder=0)
    for build in peaks:
        found = [step["fractions"][dtype][build] for step in steps]
        style = {"linestyle": "", "markeredgewidth": 1.5, "clip_on": False, **MARKS[build]}
        ax.plot(found, places, label=build, **style)
    rates = ax.secondary_yaxis("right")
    rates.set_yticks(places, [f"{max(step['gflops'][dtype].values()):.0f}" for step in steps], fontsize=8)
    ax.text(1.01, 1.015, "GF/s", transform=ax.transAxes, fontsize=8)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    for side in (ax, rates):
        side.tick_params(axis="y", length=0)
        side.spines[:].set_visible(False)
