"""One thread on one processor, for both sides, before NumPy is loaded; the option --toy."""

from benchmarks import pinning

pinning.limit(1)

# they need what only the dependency group `peers` installs
collect_ignore = ["comparison.py", "competitors", "picture.py", "roofline_picture.py"]


def pytest_addoption(parser):
    parser.addoption("--toy", action="store_true", help="small sizes, one round: does it run at all?")


def pytest_configure(config):
    if not config.getoption("--toy"):
        pinning.pin(1)


def pytest_generate_tests(metafunc):
    from benchmarks import grid

    toy = metafunc.config.getoption("--toy")
    if {"sizes", "n", "dtype"} <= set(metafunc.fixturenames):
        cases = [
            (sizes, n, dtype)
            for dtype in grid.DTYPES
            for sizes in (grid.TOY_SIZES if toy else grid.SIZES)
            for n in (grid.TOY_ROWS if toy else grid.ROWS)
        ]
        metafunc.parametrize(("sizes", "n", "dtype"), cases, ids=grid.name)
