"""The benchmarks run: at toy size, and their table can be made; and the time of the import."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(code):
    """Run code in a process that finds the benchmarks; return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_benchmarks_at_toy_size_and_their_table():
    printed = run("from benchmarks import table; print(table.tables(table.run('--toy')))")
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 * (1 + 4)
    assert all(line.count("×)") == 2 for line in rows if "float" in line)


def test_import_time():
    assert "ms beyond it" in run("from benchmarks import import_time; import_time.main(runs=2)")
