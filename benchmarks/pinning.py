"""How many threads and processors there are, for fastmlp and for everyone else. Before NumPy is loaded."""

import os


def limit(threads):
    """Let every library take so many threads."""
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "FASTMLP"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if threads == 1:  # else XLA takes as many as it sees processors
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def pin(processors):
    """Keep this process on so many processors, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < processors:
            raise SystemExit(f"{processors} processors asked for, and this process may use {len(allowed)}")
        os.sched_setaffinity(0, allowed[:processors])
