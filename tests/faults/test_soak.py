"""Thousands of fits, saves and loads, failures among them: memory, open files and threads stay."""

import sys

import programs
import pytest

ROUNDS, SOAKED = 500, 10_000
WARM = 0.2  # of the rounds, before the first look: caches fill, the allocator finds its size


def soaked(folder, rounds, timeout):
    print(programs.output("soak.py", folder, rounds, int(rounds * WARM), timeout=timeout))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_34_hundreds_of_fits_saves_and_loads(tmp_path):
    soaked(tmp_path, ROUNDS, timeout=300)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_34_ten_thousand_fits_saves_and_loads(tmp_path):
    soaked(tmp_path, SOAKED, timeout=7200)
