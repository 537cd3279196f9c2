"""Run the benchmarks and write their tables into docs/benchmarks.md: ``python -m benchmarks.table``."""

import json
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks import grid, readme
from fastmlp import show_config
from fastmlp.cli import readable

TITLES = {
    "bench_loss_and_gradients": "One full-batch step: loss and both gradients, called from Python",
    "bench_epoch": "One epoch of Adam, batches of 32, shuffled",
}


def main():
    """Run, and write the tables."""
    readme.write("benchmarks", tables(run()))


def run(*options):
    """Run the benchmarks in a process of their own; return what pytest-benchmark says."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "benchmarks", "-q", f"--benchmark-json={report}", *options]
        subprocess.run(command, cwd=readme.ROOT, check=True)
        return json.loads(report.read_text(encoding="utf-8"))


def tables(report):
    """The report as Markdown: times, and how many times as long NumPy takes."""
    config = show_config(mode="dicts")
    cpu = report["machine_info"].get("cpu", {}).get("brand_raw", platform.processor())
    lines = [
        f"Measured on {date.today()}, {cpu}, one thread on one processor for both, "
        f"{config['isa'].split()[0]} kernels, NumPy {np.__version__}; medians of interleaved "
        "rounds; in brackets how many times as long the NumPy reference takes. Absolute times vary between "
        "machines; the ratios less so.",
        "",
    ]
    for function, title in TITLES.items():
        cells = {
            (case["params"]["dtype"], tuple(case["params"]["sizes"]), case["params"]["n"]): _cell(case)
            for case in report["benchmarks"]
            if case["name"].startswith(function)
        }
        rows = sorted({n for _, _, n in cells})
        lines += [
            f"**{title}**",
            "",
            "| network, dtype | " + " | ".join(f"n = {n}" for n in rows) + " |",
            "|---|" + "---|" * len(rows),
        ]
        for dtype in grid.DTYPES:
            for sizes in sorted({sizes for _, sizes, _ in cells}):
                row = " | ".join(cells[dtype, sizes, n] for n in rows)
                lines.append(f"| {grid.name(sizes)}, {dtype} | {row} |")
        lines.append("")
    return "\n".join(lines)


def _cell(case):
    seconds = case["stats"]["median"] / case["extra_info"]["calls"]
    ratio = case["extra_info"]["reference_seconds"] / seconds
    return f"{readable(seconds)} ({ratio:.3g}×)"


if __name__ == "__main__":
    main()
