"""What ``import fastmlp`` costs beyond ``import numpy``: ``python -m benchmarks.import_time``."""

import os
import statistics
import subprocess
import sys
import tempfile

RUNS = 20
CHILD = """
from time import perf_counter
started = perf_counter()
import numpy
between = perf_counter()
import fastmlp
print(between - started, perf_counter() - between)
"""


def main(runs=RUNS):
    """Measure, and print the medians."""
    numpy, beyond = (sorted(1e3 * t for t in seconds) for seconds in zip(*measure(runs), strict=True))
    print(f"import numpy    {statistics.median(numpy):6.1f} ms")
    print(
        f"import fastmlp  {statistics.median(beyond):6.1f} ms beyond it  "
        f"({beyond[0]:.1f} to {beyond[-1]:.1f}; medians of {runs} processes)"
    )


def measure(runs):
    """(seconds of NumPy, seconds of fastmlp beyond it) of so many processes: each measures both."""
    with tempfile.TemporaryDirectory() as folder:
        # With the bytecode that an installed package has, even where Python is told to write none;
        # compiling the sources each time would be most of what is measured.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        _process(environment)  # writes it
        return [_process(environment) for _ in range(runs)]


def _process(environment):
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


if __name__ == "__main__":
    main()
