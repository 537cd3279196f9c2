"""The benchmarks run: at toy size, and their tables and pictures can be made."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastmlp import kernels

ROOT = Path(__file__).resolve().parents[2]


# pytest-benchmark measures nothing beside other tests, and the runs in here are by themselves
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}


def run(code):
    """Run code in a process that finds the benchmarks; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_benchmarks_at_toy_size_and_their_table():
    printed = run("from benchmarks import table; print(table.tables(table.run('--toy')))")
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 * (1 + 4)
    assert all(line.count("×)") == 2 for line in rows if "float" in line)


def test_import_time():
    assert "ms beyond it" in run("from benchmarks import import_time; import_time.main(runs=2)")


def test_instructions_may_rise_by_5_percent():
    before = {"as before": 100.0, "fallen": 100.0, "4 %": 100.0, "6 %": 100.0, "no longer counted": 100.0}
    now = {"as before": 100.0, "fallen": 50.0, "4 %": 104.0, "6 %": 106.0, "new": 1.0}
    printed = run(f"from benchmarks import instructions; print(instructions.rises({before}, {now}))")
    risen = ast.literal_eval(printed)
    assert [line.split(":")[0] for line in risen] == ["6 %", "new"]
    assert "106.0 instructions a row, before 100.0" in risen[0]


def test_roofline_at_toy_size(tmp_path):
    output, picture = tmp_path / "roofline.json", tmp_path / "roofline.png"
    command = ["-m", "benchmarks.roofline", "--toy", f"--json={output}", f"--picture={picture}"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text(encoding="utf-8"))
    assert "5→8→3 n=100" in done.stdout
    for step in report["steps"]:
        for dtype, peaks in report["peaks"].items():
            assert set(peaks) == set(kernels.AVAILABLE_ISAS)
            for build, peak in peaks.items():
                assert step["fractions"][dtype][build] == step["gflops"][dtype][build] / peak > 0
    assert set(report["growth"][-1]["growth"].values()) == {1.0}
    assert picture.stat().st_size > 0


@pytest.mark.peers
def test_comparison_with_the_peers_at_toy_size(tmp_path):
    output, picture = tmp_path / "peers.json", tmp_path / "peers.png"
    command = ["-m", "benchmarks.peers", "--toy", f"--output={output}", f"--picture={picture}"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["threads"] == 1
    for case in report["cases"]:
        peers = set(case["seconds"]) - {"fastmlp"}
        assert ("numba" in peers) == (case["activation"] == "relu")
        assert ("numba, rows" in peers) == (case["group"] in ("step", "epoch"))
        assert len(peers - {"numba", "numba, rows"}) == (6 if case["group"].startswith("predict") else 7)
        assert set(case["ratios"]) == peers
        assert case["ratio"] == case["ratios"][case["fastest"]] == min(case["ratios"].values()) > 0
    panels = {(case["group"], case["dtype"]) for case in report["cases"]}
    assert len(report["summary"]) == len(panels)
    for ratios in report["summary"].values():
        for name, found in ratios.items():
            assert 0 < found["worst"] <= found["geometric_mean"] * (1 + 1e-12)
            assert ratios["the fastest of them"]["worst"] <= found["worst"], name
    assert picture.stat().st_size > 0
    read = f"json.load(open({str(output)!r}))"
    table = run(f"import json; from benchmarks import comparison; print(comparison.text({read}))")
    assert "| 5→8→6→3 n=100 |" in table
    assert "| 5→8→6→7→1 tanh n=100 |" in table
    assert [line.split()[1:4] for line in done.stdout.splitlines() if "–" in line] == [
        ["5→8→6→3", "n=100", "float32"],  # “numba, rows” takes no part, and with tanh numba neither
        ["5→8→6→7→1", "tanh", "n=100"],
    ]


@pytest.mark.peers
def test_the_peers_in_some_cases_only(tmp_path):
    output = tmp_path / "peers.json"
    command = ["-m", "benchmarks.peers", "--toy", f"--output={output}", "--only", "deep", "5-8-6-7-1", "tanh"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(output.read_text(encoding="utf-8"))["cases"]
    assert case["case"] == "deep 5→8→6→7→1 tanh n=100 float64"


def test_estimators_and_their_table():
    code = (
        "from benchmarks import estimators; estimators.DATA = {'linnerud': estimators.DATA['linnerud']}; "
        "print(estimators.table(estimators.run(seeds=2, rounds=1)))"
    )
    rows = [line for line in run(code).splitlines() if line.startswith("| linnerud")]
    assert len(rows) == 2
    assert all(row.endswith("× |") and row.count("±") == 2 for row in rows)


def test_subnormals_at_toy_size():
    command = [sys.executable, "-m", "benchmarks.subnormals", "--toy"]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("×") == len(kernels.AVAILABLE_ISAS) * 2 * 3


def test_what_the_fast_paths_earn_at_toy_size():
    command = [sys.executable, "-m", "benchmarks.fast_paths", "--toy"]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in kernels.fast_path_names():  # each is in use for some case
        assert f"{name}: " in done.stdout
        assert sum(line.startswith(f"{name} ") for line in done.stdout.splitlines()) >= 2
