"""Children of each kind fit and predict, also while another thread of the parent is inside a fit."""

import multiprocessing
import sys
import threading

from work import SIZES, fit_own, problem

import fastmlp

if __name__ == "__main__":
    found, stop = fit_own(2), threading.Event()
    fitting = threading.Thread(
        target=lambda: fastmlp.Trainer(fastmlp.MLP(SIZES), batch_size=None, n_threads=2).fit(
            *problem(), 10**9, callback=lambda *_: stop.is_set()
        )
    )
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(fit_own, [1, 2, 3, 4]) == [found] * 4
    fitting.start()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(fit_own, [1, 2, 3, 4]) == [found] * 4
    stop.set()
    fitting.join()
