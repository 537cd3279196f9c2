"""The benchmarks run, at toy size, and their table can be made."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_benchmarks_at_toy_size_and_their_table():
    code = "from benchmarks import table; print(table.tables(table.run('--toy')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 * (1 + 4)
    assert all(line.count("×)") == 2 for line in rows if "float" in line)
