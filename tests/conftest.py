import numpy as np
import pytest

from fastmlp import kernels


@pytest.fixture(params=kernels.USABLE)
def build(request, monkeypatch):
    """Each kernel build that this CPU can run, in use for one test."""
    monkeypatch.setattr(kernels, "BUILD", request.param)
    monkeypatch.setattr(kernels, "_modules", kernels._load(request.param))
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20)
