"""fastmlp: small neural networks on the CPU, trained and run as fast as the machine allows."""

from fastmlp import kernels, objectives, penalties, reference, schedules
from fastmlp._config import __version__, show_config
from fastmlp.datasets import load_titanic
from fastmlp.network import MLP
from fastmlp.optimizers import SGD, Adam, AdamW
from fastmlp.training.state import History
from fastmlp.training.trainer import Trainer

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "History",
    "Trainer",
    "__version__",
    "kernels",
    "load_titanic",
    "objectives",
    "penalties",
    "reference",
    "schedules",
    "show_config",
]


def __getattr__(name):
    if name == "plot":  # when asked for: it needs matplotlib, an extra
        from importlib import import_module

        return import_module("fastmlp.plot")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
