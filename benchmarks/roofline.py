"""How near the kernels come to what the machine can do: ``python -m benchmarks.roofline``.

The work is a full-batch step of gradient descent in one fit. A layer counts 6 n_in n_out operations a row,
the first, whose input has no gradient, 4; biases, activations and losses do not count. The roofs are
multiply-adds in registers, of the same build, and the memory: what could be done while X and y are read from
it, once a step, if they do not fit in the last-level cache. Bandwidth is that of reading (the maximum of a
long array; nothing is written). All are measured in turn, and of each the best time counts.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import pairwise
from pathlib import Path

import cpuinfo
import numpy as np

from benchmarks import grid, pinning
from fastmlp import MLP, Trainer, kernels

GROWING = (3, 4, 1)  # the network whose time for a row is compared over numbers of rows, with that at BASE
BASE = 10_000
WHOLE = {
    "steps": grid.DEEP_STEPS | {"relu": grid.STEPS | grid.DEEP},
    "growth": (1_000, BASE, 100_000, 1_000_000, 10_000_000),
    "rounds": 7,
    "operations": 2e9,  # in a fit: 20 ms at 100 GF/s, or one step
    "caches": 8,  # last-level caches that the array fills, of which the memory's bandwidth is measured
}
TOY = {
    "steps": {"relu": {(3, 4, 1): (32,), (5, 8, 3): (100,)}, "tanh": {(5, 8, 8, 3): (100,)}},
    "growth": (1_000, BASE),
    "rounds": 1,
    "operations": 1e7,
    "caches": 0.1,
}


def main():
    """Measure, print the tables, write the report and the picture."""
    options = _options()
    pinning.pin(options.threads)
    report = measure(options.threads, **(TOY if options.toy else WHOLE))
    print(text(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.picture:
        from benchmarks import roofline_picture

        roofline_picture.draw(report, options.picture)


def measure(threads, steps, growth, rounds, operations, caches):
    """The report: the roofs; for each network and number of rows the rates and fractions; the growth."""
    cache = last_level_cache()
    steps = [
        (activation, sizes, n)
        for activation, networks in steps.items()
        for sizes, rows in networks.items()
        for n in rows
    ]
    cases = [(*step, dtype) for dtype in grid.DTYPES for step in steps]
    cases += [("relu", GROWING, n, "float32") for n in growth]
    rates = _rates(dict.fromkeys(cases), threads, rounds, operations, np.ones(int(caches * cache / 8)))
    return {
        "date": str(date.today()),
        "cpu": cpuinfo.get_cpu_info().get("brand_raw", "unknown"),
        "threads": threads,
        "cache": cache,
        "bandwidth": rates["read"],
        "peaks": {
            dtype: {build: rates[dtype, build] for build in kernels.AVAILABLE_ISAS} for dtype in grid.DTYPES
        },
        "steps": [_step(*step, rates, cache) for step in steps],
        "growth": [_growth(n, rates, cache) for n in growth],
    }


def last_level_cache():
    """Its size in bytes, as Linux states it, or where /sys is not mounted the C library."""
    sizes = [path.read_text() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    if sizes:
        return 1024 * max(int(size.strip().removesuffix("K")) for size in sizes)
    for level in (3, 2):
        done = subprocess.run(["getconf", f"LEVEL{level}_CACHE_SIZE"], capture_output=True, text=True)
        if done.stdout.strip().isdecimal() and int(done.stdout):
            return int(done.stdout)
    sys.exit("the size of the last-level cache is neither in /sys nor known to getconf")


def _rates(cases, threads, rounds, operations, array):
    """The best rate, in 10**9 a second, of each (case, build), of each peak (dtype, build) and of "read".

    The builds take turns, each being made the one in use, as FASTMLP_ISA does at the import.
    """
    best = defaultdict(float)
    parts = np.array_split(array, threads)
    with ThreadPoolExecutor(threads) as pool:
        each = pool.map if threads > 1 else map
        for case in cases:
            dtype = case[-1]
            fit = _fit(*case, threads, operations)
            for build in kernels.AVAILABLE_ISAS * rounds:
                with kernels.use(build):
                    multiply_adds = kernels.module(dtype).multiply_adds
                    turns = int(operations / 4 / multiply_adds(1)) + 1
                    best["read"] = max(best["read"], _rate(_read, parts, each))
                    rate = _rate(multiply_adds, [turns] * threads, each)
                    best[dtype, build] = max(best[dtype, build], rate)
                    best[case, build] = max(best[case, build], fit())
    return best


def _fit(activation, sizes, n, dtype, threads, operations):
    """A function that fits for a while and returns the operations of a step, in 10**9 a second."""
    X, Y, *_ = grid.data(sizes, n, dtype)
    net = MLP(sizes, activation=activation, dtype=dtype)
    trainer = Trainer(net, "sgd", learning_rate=1e-6, batch_size=None, n_threads=threads)
    of_a_step = n * _operations(sizes)
    epochs = max(1, round(operations / of_a_step))
    return lambda: of_a_step / min(trainer.fit(X, Y, epochs).seconds) / 1e9


def _operations(sizes):
    """Of a row in a step."""
    return sum(6 * n_in * n_out for n_in, n_out in pairwise(sizes)) - 2 * sizes[0] * sizes[1]


def _rate(function, parts, each):
    """What `function` says that it does for all parts, in 10**9 a second."""
    started = time.perf_counter()
    done = sum(each(function, parts))
    return done / (time.perf_counter() - started) / 1e9


def _read(array):
    array.max()
    return array.nbytes


def _step(activation, sizes, n, rates, cache):
    """One row of the tables."""
    gflops, fractions = {}, {}
    for dtype in grid.DTYPES:
        gflops[dtype], fractions[dtype] = _achieved((activation, sizes, n, dtype), rates, cache)
    return {
        "sizes": sizes,
        "activation": activation,
        "rows": n,
        "gflops": gflops,
        "fractions": fractions,
        "avx2_of_avx512": {
            dtype: of["avx2"] / of["avx512"] for dtype, of in gflops.items() if "avx512" in of
        },
        "float64_of_float32": {
            build: fractions["float64"][build] / fractions["float32"][build]
            for build in kernels.AVAILABLE_ISAS
        },
    }


def _growth(n, rates, cache):
    """What a row takes among n rows, and as a multiple of what it takes among BASE rows."""
    gflops, fractions = _achieved(("relu", GROWING, n, "float32"), rates, cache)
    base, _ = _achieved(("relu", GROWING, BASE, "float32"), rates, cache)
    return {
        "rows": n,
        "nanoseconds": {build: _operations(GROWING) / rate for build, rate in gflops.items()},
        "growth": {build: base[build] / rate for build, rate in gflops.items()},
        "fractions": fractions,
    }


def _achieved(case, rates, cache):
    """By build: the rate of a case, and its fraction of the lower roof."""
    _, sizes, n, dtype = case
    data = n * (sizes[0] + sizes[-1]) * np.dtype(dtype).itemsize
    memory = np.inf if data <= cache else rates["read"] * n * _operations(sizes) / data
    gflops = {build: rates[case, build] for build in kernels.AVAILABLE_ISAS}
    return gflops, {build: rate / min(rates[dtype, build], memory) for build, rate in gflops.items()}


def text(report):
    """The report as tables."""
    threads = "one thread" if report["threads"] == 1 else f"{report['threads']} threads"
    roofs = f"memory {report['bandwidth']:.1f} GB/s, last-level cache {report['cache'] >> 20} MB"
    tables = _rate_lines(report), _share_lines(report), _growth_lines(report)
    return "\n\n".join([f"{report['cpu']}, {threads}; {roofs}", *map("\n".join, tables)])


def _rate_lines(report):
    peaks = report["peaks"]
    yield "GF/s, and as a fraction of the lower roof"
    yield _line("", [f"{build} {dtype}" for dtype in peaks for build in peaks[dtype]])
    yield _line("multiply-adds", [f"{peak:.1f} 100%" for of in peaks.values() for peak in of.values()])
    for step in report["steps"]:
        cells = [
            f"{rate:.1f} {step['fractions'][dtype][build]:4.0%}"
            for dtype, of in step["gflops"].items()
            for build, rate in of.items()
        ]
        yield _line(grid.step_name(step), cells)


def _share_lines(report):
    yield "AVX2's GF/s as a share of AVX-512's, and float64's fraction of the roof as a share of float32's"
    first = report["steps"][0]
    builds = [f"{build}, 64/32" for build in first["float64_of_float32"]]
    yield _line("", [*(f"avx2, {dtype}" for dtype in first["avx2_of_avx512"]), *builds])
    for step in report["steps"]:
        shares = *step["avx2_of_avx512"].values(), *step["float64_of_float32"].values()
        yield _line(grid.step_name(step), [f"{share:.0%}" for share in shares])


def _growth_lines(report):
    yield f"Time of a row of {grid.name(GROWING)} float32, multiples of n={BASE}, fraction of the lower roof"
    yield _line("", report["growth"][0]["growth"])
    for row in report["growth"]:
        cells = [
            f"{nanoseconds:.2f} ns {row['growth'][build]:.2f}× {row['fractions'][build]:4.0%}"
            for build, nanoseconds in row["nanoseconds"].items()
        ]
        yield _line(f"n={row['rows']}", cells)


def _line(name, cells):
    return f"{name:31}" + "".join(f"{cell:>19}" for cell in cells)


def _options():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--toy", action="store_true", help="tiny sizes, one round: does it run at all?")
    parser.add_argument("--threads", type=int, default=1, help="of the kernels and of the roofs (default: 1)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the report")
    parser.add_argument("--picture", type=Path, metavar="PATH", help="draw the fractions, as PNG or SVG")
    return parser.parse_args()


if __name__ == "__main__":
    main()
