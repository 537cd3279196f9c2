"""fastmlp beside its peers: the cases, the proof that all calculate the same, the times and the ratios."""

import math
from datetime import date
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

import cpuinfo
import numpy as np

from benchmarks import competitors, grid
from benchmarks.competitors import OURS, common
from fastmlp import kernels, reference, show_config
from fastmlp.cli import readable

GROUPS = {
    "step": "A step of full-batch gradient descent",
    "deep": "A step with two and more hidden layers",
    "epoch": "An epoch of Adam",
    "predict-one": "Prediction of one row",
    "predict-many": "Prediction of many rows",
}
FASTEST = "the fastest of them"


class Case(NamedTuple):
    """One comparison."""

    group: str
    sizes: tuple
    rows: int
    dtype: str = "float32"
    batch: int | None = None
    activation: str = "relu"

    def __str__(self):
        batch = f" batch={self.batch}" if self.batch else ""
        return f"{self.group} {grid.step_name(self._asdict())}{batch} {self.dtype}"


CASES = (
    *(
        Case("step", sizes, n, dtype)
        for dtype in grid.DTYPES
        for sizes, rows in grid.STEPS.items()
        for n in rows
    ),
    *(
        Case("deep", sizes, n, dtype, activation=activation)
        for dtype in grid.DTYPES
        for activation, networks in grid.DEEP_STEPS.items()
        for sizes, rows in networks.items()
        for n in rows
    ),
    Case("epoch", (3, 4, 1), 1309, batch=32),
    Case("epoch", (8, 32, 1), 20_640, batch=32),
    Case("epoch", (64, 256, 1), 20_000, batch=256),
    Case("predict-one", (3, 4, 1), 1),
    Case("predict-one", (8, 32, 1), 1),
    Case("predict-one", (64, 256, 1), 1),
    Case("predict-many", (3, 4, 1), 1_000_000),
    Case("predict-many", (8, 32, 1), 1_000_000),
    Case("predict-many", (64, 256, 1), 100_000),
)
TOY_CASES = (
    Case("step", (3, 4, 1), 32),
    Case("step", (5, 8, 3), 100, "float64"),
    Case("deep", (5, 8, 6, 3), 100),
    Case("deep", (5, 8, 6, 7, 1), 100, "float64", activation="tanh"),
    Case("epoch", (3, 4, 1), 100, batch=32),
    Case("predict-one", (3, 4, 1), 1),
    Case("predict-many", (5, 8, 3), 100),
)

EQUAL_STEPS = 5
EQUAL = 1e3  # eps of the movement, for the rounding of the gradients; see _assert_equal_weights


def run(cases, toy):
    """Compare, print each case as it is done, and return the report."""
    results = []
    for case in cases:
        if not results or results[-1]["group"] != case.group:
            print(_heading(case.group))
        results.append(_result(case, compare(case, toy)))
        print(_line(results[-1]), flush=True)
    summary = _summary(results)
    print("\n".join(["", *table(summary)]))
    return {
        "date": str(date.today()),
        "threads": kernels.threads(),
        "cpu": cpuinfo.get_cpu_info().get("brand_raw", "unknown"),
        "config": show_config(mode="dicts"),
        "versions": {package: version(package) for package in competitors.PACKAGES},
        "summary": summary,
        "cases": results,
    }


def compare(case, toy):
    """The median seconds that each side takes for a step, an epoch or a prediction."""
    sides = {"step": _steps, "deep": _steps, "epoch": _epochs}.get(case.group, _predictions)
    return grid.interleaved(sides(case), toy)


def _steps(case):
    X, Y, *weights = grid.problem(case.sizes, case.rows, case.dtype)
    forms = {name: competitors.steps(name, case.sizes, case.activation) for name in competitors.STEPS}
    sides = {name: steps(X, Y, weights, case.activation) for name, steps in forms.items() if steps}
    sgd_step = partial(reference.sgd_step, learning_rate=common.LEARNING_RATE, momentum=0, nesterov=False)
    exact = _trained(X, Y, weights, sgd_step, [np.arange(case.rows)] * EQUAL_STEPS, case.activation)
    for name, train in sides.items():
        _assert_equal_weights(f"{case}: {name}", train(EQUAL_STEPS), exact, weights)
    return sides


def _epochs(case):
    X, Y, *weights = grid.problem(case.sizes, case.rows, case.dtype)
    few = min(case.rows, EQUAL_STEPS * case.batch - case.batch // 2)  # the last batch is a smaller one
    start = X[:few], Y[:few], weights
    adam_step = partial(
        reference.adam_step,
        learning_rate=common.LEARNING_RATE,
        beta1=common.BETA1,
        beta2=common.BETA2,
        eps=common.EPS,
    )
    exact = _trained(*start, adam_step, np.split(np.arange(few), range(case.batch, few, case.batch)))
    for name, epochs in competitors.EPOCHS.items():
        found = epochs(*start, case.batch, shuffle=False)(1)
        _assert_equal_weights(f"{case}: {name}", found, exact, weights)
    return {
        name: epochs(X, Y, weights, case.batch, shuffle=True) for name, epochs in competitors.EPOCHS.items()
    }


def _predictions(case):
    X, Y, *weights = grid.data(case.sizes, case.rows, case.dtype)
    sides = {name: predict(X, weights) for name, predict in competitors.PREDICT.items()}
    exact = reference.forward(X.astype(np.float64), [W.astype(np.float64) for W in weights])
    bounds = reference.error_bounds(X, Y, weights, dtype=case.dtype)["z"]
    for name, predict in sides.items():
        error = np.abs(np.reshape(np.asarray(predict()), exact.shape) - exact)
        assert np.all(error <= bounds), f"{case}: {name} predicts something else, by up to {error.max()}"
    return {name: grid.repeated(predict) for name, predict in sides.items()}


def _trained(X, Y, weights, optimizer_step, batches, activation="relu"):
    """The weights after a step with each of the batches: the reference's, in double precision."""
    X, Y, *weights = (A.astype(np.float64) for A in (X, Y, *weights))
    moments = np.zeros((2, sum(W.size for W in weights)))
    reference.train_epoch(X, Y, weights, moments, 0, optimizer_step, batches, activation=activation)
    return weights


def _assert_equal_weights(name, found, exact, start):
    """Each step also rounds each weight, by at most eps / 2 of its size.

    Measured over all cases and sides: at most 0.22 of what is allowed, and 0.17 with two or more hidden
    layers. A learning rate that is 1 % off makes more than five times what is allowed.
    """
    eps = np.finfo(start[0].dtype).eps
    found, exact, start = (
        np.concatenate([np.ravel(W) for W in weights]) for weights in (found, exact, start)
    )
    movement = np.linalg.norm(exact - start)
    allowed = eps * (EQUAL_STEPS / 2 * np.linalg.norm(start) + EQUAL * movement)
    error = np.linalg.norm(found - exact)
    assert error <= allowed, f"{name} trains something else: {error / movement:.2g} of the movement apart"


def _result(case, seconds):
    ratios = {name: taken / seconds[OURS] for name, taken in seconds.items() if name != OURS}
    fastest = min(ratios, key=ratios.get)
    return {
        "case": str(case),
        **case._asdict(),
        "seconds": seconds,
        "ratios": ratios,
        "fastest": fastest,
        "ratio": ratios[fastest],
    }


def panel(result):
    """What a result is summed up and drawn with."""
    return f"{GROUPS[result['group']]}, {result['dtype']}"


def _summary(results):
    """For each panel and peer the geometric mean of the ratios and the worst; FASTEST: of each case."""
    panels = {}
    for result in results:
        ratios = panels.setdefault(panel(result), {FASTEST: []})
        for name, ratio in {FASTEST: result["ratio"], **result["ratios"]}.items():
            ratios.setdefault(name, []).append(ratio)
    return {
        title: {
            name: {"geometric_mean": math.exp(np.mean(np.log(found))), "worst": min(found)}
            for name, found in ratios.items()
        }
        for title, ratios in panels.items()
    }


def table(summary):
    """The summary as the lines of a Markdown table."""
    names = dict.fromkeys(name for of in summary.values() for name in of)
    yield f"| times of a peer / times of {OURS}: geometric mean (worst case) | " + " | ".join(summary) + " |"
    yield "|---|" + "---|" * len(summary)
    for name in names:
        cells = " | ".join(_cell(of[name]) if name in of else "" for of in summary.values())
        yield f"| {name} | {cells} |"


def text(report):
    """What the README says."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    measured = f"Measured on {report['date']}, {report['cpu']}, one thread; {versions}."
    return "\n".join([measured, "", *table(report["summary"]), "", *_deep_table(report), ""])


def _deep_table(report):
    """The steps of deep networks one by one, as the lines of a Markdown table."""
    cases = {}
    for case in report["cases"]:
        if case["group"] == "deep":
            cases.setdefault(grid.step_name(case), {})[case["dtype"]] = case
    yield f"| {GROUPS['deep']} | " + " | ".join(grid.DTYPES) + " |"
    yield "|---|" + "---|" * len(grid.DTYPES)
    for name, of in cases.items():
        cells = " | ".join(
            f"{readable(of[dtype]['seconds'][OURS])}; {of[dtype]['fastest']} {of[dtype]['ratio']:.3g}×"
            if dtype in of
            else ""
            for dtype in grid.DTYPES
        )
        yield f"| {name} | {cells} |"


def _cell(found):
    return f"{found['geometric_mean']:.3g}× ({found['worst']:.3g}×)"


def _heading(group):
    peers = competitors.PREDICT if group.startswith("predict") else competitors.STEPS
    columns = "".join(f"{name:>18}" for name in peers if name != OURS)
    return f"\n{GROUPS[group]}\n{'':48}{OURS:>9}{columns}  fastest peer"


def _line(result):
    seconds, ratios = result["seconds"], result["ratios"]
    peers = competitors.PREDICT if result["group"].startswith("predict") else competitors.STEPS
    cells = "".join(
        f"{readable(seconds[name]):>10} {ratios[name]:6.3g}×" if name in ratios else f"{'–':>18}"
        for name in peers
        if name != OURS
    )
    ours = readable(seconds[OURS])
    return f"{result['case']:48}{ours:>9}{cells}  {result['fastest']}, {result['ratio']:.3g}×"
