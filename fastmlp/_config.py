"""What is installed and in use."""

import platform

import numpy as np

from fastmlp import kernels

# The only place: pyproject.toml reads it from here. The other way round, by way of importlib.metadata,
# the import would take 16 ms longer.
__version__ = "0.1.0"


def show_config(mode: str = "stdout") -> dict[str, str] | None:
    """Print the version, what the CPU can run and its caches, the instruction set in use, and the threads.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print, or return the same as a dict.

    Returns
    -------
    dict or None

    Raises
    ------
    ValueError
        `mode` is neither of the two.

    Examples
    --------
    >>> sorted(show_config(mode="dicts"))
    ['available', 'caches', 'fastmlp', 'isa', 'machine', 'numpy', 'python', 'threads']
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode: must be 'stdout' or 'dicts', got {mode!r}")
    config = {
        "fastmlp": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.machine()} {platform.system()}",
        "available": ", ".join(kernels.AVAILABLE_ISAS) + "  (compiled in, and this CPU can run)",
        "isa": kernels.ISA + "  (instruction set of the kernels in use; FASTMLP_ISA chooses)",
        "caches": " and ".join(f"{size >> 10} KB" for size in kernels.CACHES)
        + "  (first and second level of a core; the size of blocks follows them)",
        "threads": f"{kernels.threads()}  (FASTMLP_NUM_THREADS)",
    }
    if mode == "dicts":
        return config
    for name, value in config.items():
        print(f"{name:9} {value}")
    return None
