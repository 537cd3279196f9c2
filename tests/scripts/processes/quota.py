"""Four fits at a time, of two threads each, by somebody else's threads: four workers and a helper each.

Next to a helper that has just ended its successor may be seen.
"""

import sys

from work import Watch, fit, os_threads, problem


def by_thread_pool(tasks):
    from multiprocessing.pool import ThreadPool

    with ThreadPool(4) as pool:  # three more threads hand out and collect
        return pool.starmap(fit, tasks, chunksize=1), 3


def by_joblib(tasks):
    import joblib

    parallel = joblib.Parallel(n_jobs=4, backend="threading")
    return parallel(joblib.delayed(fit)(*task) for task in tasks), 3  # it has a ThreadPool


def by_dask(tasks):
    import dask

    with dask.config.set(scheduler="threads", num_workers=4):
        return list(dask.compute(*(dask.delayed(fit)(*task) for task in tasks))), 0


X, y = problem()
data = [(X * (i + 1), y) for i in range(12)]
alone = [fit(*each) for each in data]
before = os_threads()
with Watch() as watch:
    results, handing_out = globals()["by_" + sys.argv[1]]([(*each, 2) for each in data])
assert results == alone
assert before + 4 < watch.most <= before + 4 + handing_out + 4 + 4, (before, watch.most)
