"""Fits in processes of dask."""

import dask
from work import fit_own

if __name__ == "__main__":
    found = fit_own(1)
    tasks = [dask.delayed(fit_own)(1 + i % 3) for i in range(6)]
    assert list(dask.compute(*tasks, scheduler="processes", num_workers=2)) == [found] * 6
