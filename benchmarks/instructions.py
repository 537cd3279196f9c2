"""Instructions per row, against those kept in a file: ``python -m benchmarks.instructions``.

A loss of 5 % is lost in the noise of times; instructions, counted by valgrind, are the same in every run.
They are those of the AVX2 build, as valgrind knows no AVX-512.
"""

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks import grid, pinning
from fastmlp import MLP, Trainer

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_suffix(".json")
RISE = 0.05
CASES = (  # what is done, by which network, with how many rows, and how often: some million instructions
    ("step", (3, 4, 1), 1000, 200),
    ("step", (5, 13, 3), 1000, 40),
    ("step", (8, 16, 1), 1000, 40),
    ("step", (8, 17, 1), 1000, 40),
    ("step", (16, 64, 1), 1000, 5),
    ("step", (64, 256, 1), 256, 2),
    ("step", (8, 12, 12, 1), 1000, 20),  # rows in lanes
    ("step", (16, 64, 64, 1), 256, 5),  # units in lanes
    ("epoch", (3, 4, 1), 1000, 40),
    ("predict", (8, 32, 1), 10_000, 4),
    ("predict", (3, 4, 1), 1, 1000),
    ("predict", (16, 64, 1), 17, 1000),
)


def main():
    """Count, and compare with the file or write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the file instead of comparing with it")
    options = parser.parse_args()
    this = built_with()
    if options.write:
        report = {"built_with": this, "instructions_per_row": count()}
        FILE.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    if kept["built_with"] != this:
        # No failure: what another compiler makes of the same source is not the fault of the change under
        # test, and no change of the source would mend it. Only --write would, and then fail for the others.
        print(f"not comparable: counted with {kept['built_with']}, this is {this}")
        return
    before, now = kept["instructions_per_row"], count()
    for name, found in now.items():
        print(f"{name:34}{found:10.2f} a row {found / before.get(name, found) - 1:+9.2%}")
    risen = rises(before, now)
    if risen:
        sys.exit("\n".join(risen))


def rises(before, now):
    """A line for each count that has risen by more than RISE; one that is not in the file has, from 0."""
    return [
        f"{name}: {found} instructions a row, before {before.get(name, 0)}; allowed is a rise of {RISE:.0%}"
        for name, found in now.items()
        if found > (1 + RISE) * before.get(name, 0)
    ]


def built_with():
    """What the counts depend on: the compiler, which the modules name, and Python, which makes the calls."""
    found = find_spec("fastmlp.kernels._avx2_float32")
    if not found:
        sys.exit("fastmlp has no AVX2 build here, and no other's instructions are counted")
    module = Path(found.origin).read_bytes()
    compilers = sorted(set(re.findall(rb"(GCC|clang)(?:: \(.*?\)| version) ([\d.]+)", module)))
    names = [b" ".join(compiler).decode() for compiler in compilers]
    return ", ".join([*names, f"Python {sys.version_info.major}.{sys.version_info.minor}"])


def count():
    """The instructions per row of each case, all counted in one process."""
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed; on Debian: apt-get install valgrind")
    pinning.limit(1)
    # Python then goes about its memory in the same way each time: 0.05 % between runs instead of 0.5 %.
    fixed = {"FASTMLP_ISA": "avx2", "PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        command = [
            *("valgrind", "-q", "--tool=callgrind", "--dump-before=getppid", "--combine-dumps=yes"),
            *(f"--callgrind-out-file={report}", sys.executable, "-W", "error::RuntimeWarning"),
            *("-c", "from benchmarks import instructions; instructions.work()"),
        ]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | fixed, capture_output=True, text=True)
        if done.returncode:
            reason = "".join(done.stderr.splitlines()[-1:])
            sys.exit(f"the AVX2 build fails in valgrind, of which 3.19 can run it: {reason}")
        parts = [int(part) for part in re.findall(r"^summary: (\d+)", report.read_text(), re.MULTILINE)]
    rows = json.loads(done.stdout)
    counted = zip(rows.items(), parts[1::3], parts[2::3], strict=True)
    return {name: round((more - one) / n, 2) for (name, n), one, more in counted}


def work():
    """Do each case once, and then once and so many times more; print in how many rows the two differ.

    valgrind begins a new count at each call of getppid, which nothing else calls. The difference of two
    counts is free of what the first time costs, and of Python's start.
    """
    gc.disable()  # a collection would count wherever it falls
    rows = {}
    for kind, sizes, n, times in CASES:
        for dtype in grid.DTYPES:
            run = WORK[kind](sizes, n, dtype)
            run(1)
            os.getppid()
            run(1)
            os.getppid()
            run(1 + times)
            os.getppid()
            rows[f"{kind} {grid.name(sizes)} n={n} {dtype}"] = n * times
    print(json.dumps(rows))


def _steps(sizes, n, dtype, optimizer="sgd", batch_size=None):
    X, Y, *_ = grid.data(sizes, n, dtype)
    trainer = Trainer(MLP(sizes, dtype=dtype), optimizer, learning_rate=1e-6, batch_size=batch_size, seed=0)
    return partial(trainer.fit, X, Y)


def _predictions(sizes, n, dtype):
    X, *_ = grid.data(sizes, n, dtype)
    return grid.repeated(partial(MLP(sizes, dtype=dtype).predict, X))


WORK = {"step": _steps, "epoch": partial(_steps, optimizer="adam", batch_size=32), "predict": _predictions}


if __name__ == "__main__":
    main()
