"""Large arguments come to joblib's processes as read-only memory maps."""

import sys

import joblib
from work import fit, fit_mapped, problem

if __name__ == "__main__":
    X, y = problem()
    found = fit(X, y)
    if sys.argv[1] == "threading":  # no copies there, so no maps of its own
        joblib.dump((X, y), "data")
        X, y = joblib.load("data", mmap_mode="r")
    parallel = joblib.Parallel(n_jobs=2, backend=sys.argv[1], max_nbytes=1000, mmap_mode="r")
    assert parallel(joblib.delayed(fit_mapped)(X, y, 1 + i % 3) for i in range(6)) == [found] * 6
