import os
import signal

import numpy as np
import pytest
from hypothesis import settings

from fastmlp import kernels

# a package of its own, which needs the wheel, and what mypy reads: .ci/run; programs that tests start
collect_ignore = ["integrations/cimport", "typed.py", "scripts"]

# The same 100 draws of each property every time; many more, and others, by --hypothesis-profile=nightly
settings.register_profile("ci", max_examples=100, derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile("ci")

# a shell ignores it in what it runs in the background, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["SCIPY_ARRAY_API"] = "1"  # before SciPy is imported: one of scikit-learn's checks asks for it


@pytest.fixture(params=kernels.AVAILABLE_ISAS)
def build(request):
    """The kernels of each instruction set that this CPU can run, in use for one test."""
    with kernels.use(request.param):
        yield request.param


@pytest.fixture(params=["fast paths", "chain alone"])
def paths(request):
    """The kernels with all specialisations, and with none."""
    with kernels.use(fast_paths=kernels.fast_path_names() if request.param == "fast paths" else ()):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20)
