"""Fits and predictions in processes and threads of others: the same bits, nothing hangs, nothing grows.

Each case runs in a process of its own, with a hard limit of time.
"""

import subprocess
import sys
import textwrap

import pytest

# What the scripts below import: a child that is started afresh has to find the function by its module.
WORK = """
import os
import threading

import numpy as np

import fastmlp

SIZES, ROWS = (16, 64, 1), 8000


def problem():
    X = np.random.default_rng(0).normal(size=(ROWS, 16)).astype("float32")
    return X, X[:, 0] * X[:, 1]


def fit(X, y, n_threads=1, **options):
    net = fastmlp.MLP(SIZES, seed=0)
    trainer = fastmlp.Trainer(net, batch_size=None, seed=0, n_threads=n_threads)
    history = trainer.fit(X, y, 5, **options)
    return net.parameters.tobytes(), net.predict(X, n_threads=n_threads).tobytes(), history.loss


def fit_own(n_threads):
    return fit(*problem(), n_threads)


def fit_mapped(X, y, n_threads):
    assert isinstance(X, np.memmap), type(X)
    assert not X.flags.writeable
    return fit(X, y, n_threads)


def os_threads():
    return len(os.listdir("/proc/self/task"))


class Watch:
    # the largest number of threads that this process has had meanwhile, this one's own not counted

    def __enter__(self):
        self.most, self.over = 0, threading.Event()
        self.watcher = threading.Thread(target=self.look)
        self.watcher.start()
        return self

    def look(self):
        while not self.over.wait(1e-3):
            self.most = max(self.most, os_threads() - 1)

    def __exit__(self, *exception):
        self.over.set()
        self.watcher.join()
"""


def run(folder, source, timeout=120, arguments=()):
    """Run a script beside the module above."""
    (folder / "work.py").write_text(WORK)
    (folder / "script.py").write_text(textwrap.dedent(source))
    done = subprocess.run(
        # 3.12 and later warn of forks among threads
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "script.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_17_children_of_each_kind_fit_and_predict(tmp_path, method):
    """After a threaded fit in the parent, and while another thread of it is inside one."""
    script = """
        import multiprocessing, sys, threading
        from work import *

        if __name__ == "__main__":
            found, stop = fit_own(2), threading.Event()
            fitting = threading.Thread(target=lambda: fastmlp.Trainer(
                fastmlp.MLP(SIZES), batch_size=None, n_threads=2
            ).fit(*problem(), 10**9, callback=lambda *_: stop.is_set()))
            with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                assert pool.map(fit_own, [1, 2, 3, 4]) == [found] * 4
            fitting.start()
            with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                assert pool.map(fit_own, [1, 2, 3, 4]) == [found] * 4
            stop.set()
            fitting.join()
    """
    run(tmp_path, script, arguments=[method], timeout=60)


def test_17_fork_among_fits_and_predictions_in_a_pool(tmp_path):
    """A child has the networks and none of the threads: nothing is under way there."""
    script = """
        from concurrent.futures import ThreadPoolExecutor
        from work import *

        X, y = problem()
        found, nets = fit(X, y), [fastmlp.MLP(SIZES, seed=0) for _ in range(3)]
        stop = threading.Event()

        def busy(net):
            trainer = fastmlp.Trainer(net, batch_size=None, seed=0, n_threads=2)
            while not stop.is_set():
                trainer.fit(X, y, 2)
                net.predict(X, n_threads=2)

        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(busy, net) for net in nets]
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    same = fit(X, y, 2) == found
                    # the networks that were being fitted may be fitted here
                    reasons = [fastmlp.Trainer(net).fit(X, y, 1).stop_reason for net in nets]
                    os._exit(not (same and reasons == ["epochs"] * 3))
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            stop.set()
        for each in done:
            each.result()
    """
    run(tmp_path, script, timeout=60)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_09_memory_mapped_arguments_of_joblib(tmp_path, backend):
    """Large arguments come to joblib's processes as read-only memory maps."""
    script = """
        import sys
        import joblib
        from work import *

        if __name__ == "__main__":
            X, y = problem()
            found = fit(X, y)
            if sys.argv[1] == "threading":  # no copies there, so no maps of its own
                joblib.dump((X, y), "data")
                X, y = joblib.load("data", mmap_mode="r")
            parallel = joblib.Parallel(n_jobs=2, backend=sys.argv[1], max_nbytes=1000, mmap_mode="r")
            assert parallel(joblib.delayed(fit_mapped)(X, y, 1 + i % 3) for i in range(6)) == [found] * 6
    """
    run(tmp_path, script, arguments=[backend])


def test_09_read_only_memory_maps(tmp_path):
    """Of each argument, by NumPy alone, of a file that may not be written to; not a byte of it changes."""
    script = """
        from work import *

        X, y = problem()
        w = np.abs(y) + 1
        maps = []
        for name, array in (("X", X), ("y", y), ("w", w)):
            np.save(name + ".npy", array)
            os.chmod(name + ".npy", 0o444)
            maps.append(np.load(name + ".npy", mmap_mode="r"))
            assert isinstance(maps[-1], np.memmap) and not maps[-1].flags.writeable
        for standardize in (False, True):
            found = []
            for X_, y_, w_ in ((X, y, w), maps):
                net = fastmlp.MLP(SIZES, seed=0)
                trainer = fastmlp.Trainer(net, seed=0, standardize=standardize, n_threads=2)
                history = trainer.fit(X_, y_, 3, sample_weight=w_, validation_data=(X_, y_))
                loss, gradients = net.loss_and_gradients(X_, y_, w_)
                kept = net.predict(X_), *gradients, net.parameters
                found.append((history.loss, history.validation_loss, loss, [a.tobytes() for a in kept]))
            assert found[0] == found[1]
        for name, array in (("X", X), ("y", y), ("w", w)):
            assert (np.load(name + ".npy") == array).all()
    """
    run(tmp_path, script)


# Four fits at a time, of two threads each, by somebody else's threads: four workers and a helper each; beside
# a helper that has just been sent home its successor may be seen.
QUOTA = """
import sys
from work import *


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
"""


@pytest.mark.parametrize("pool", ["thread_pool", "joblib", pytest.param("dask", marks=pytest.mark.peers)])
def test_19_threads_of_other_pools_stay_within_the_quota(tmp_path, pool):
    run(tmp_path, QUOTA, arguments=[pool])


@pytest.mark.peers
def test_19_processes_of_dask(tmp_path):
    script = """
        import dask
        from work import *

        if __name__ == "__main__":
            found = fit_own(1)
            tasks = [dask.delayed(fit_own)(1 + i % 3) for i in range(6)]
            assert list(dask.compute(*tasks, scheduler="processes", num_workers=2)) == [found] * 6
    """
    run(tmp_path, script)


@pytest.mark.parametrize("changed", ["numbers", "nan", "weights"])
@pytest.mark.parametrize("n_threads", ["1", "2"])
def test_22_arrays_that_another_thread_changes(tmp_path, changed, n_threads):
    """Whatever training finds there: it ends, with finite weights, and the next fit is sound."""
    script = """
        import sys, warnings
        from work import *

        changed, n_threads = sys.argv[1], int(sys.argv[2])
        warnings.simplefilter("ignore", RuntimeWarning)  # of divergence
        stop = threading.Event()
        for shuffle in (False, True):
            X, y = problem()
            w = np.ones(len(y), dtype="float32")
            as_they_were = X.copy(), y.copy()

            def change():
                rng = np.random.default_rng(1)
                while not stop.is_set():
                    rows = rng.integers(ROWS, size=1000)
                    if changed == "numbers":
                        X[rows] = rng.normal(size=(1000, 16)) * 10.0 ** rng.integers(-3, 4)
                        y[rows] = rng.normal(size=1000)
                    elif changed == "nan":
                        X[rows], y[rows[:10]] = np.nan, np.inf
                        y[rows] = 1
                    else:
                        w[rows] = rng.choice([0, -1, 1e30, np.nan, 1])

            changing = threading.Thread(target=change)
            net = fastmlp.MLP(SIZES, seed=0)
            trainer = fastmlp.Trainer(net, batch_size=1000, seed=0, n_threads=n_threads, shuffle=shuffle)

            def begin(epoch, history):
                if not changing.ident:
                    changing.start()

            history = trainer.fit(X, y, 200, sample_weight=w, validation_data=(X, y), callback=begin)
            stop.set()
            changing.join()
            stop.clear()
            assert history.stop_reason in ("epochs", "diverged"), history.stop_reason
            assert np.isfinite(net.parameters).all()
            assert not (X == as_they_were[0]).all() or not (w == 1).all()
            assert trainer.fit(*as_they_were, 2).stop_reason == "epochs"
            assert np.isfinite(net.predict(as_they_were[0])).all()
    """
    run(tmp_path, script, arguments=[changed, n_threads])


def test_23_a_second_fit_of_a_network_is_refused(tmp_path):
    """By another trainer or the same one; the first goes on as if nothing had been, and so may the next."""
    script = """
        from work import *

        X, y = problem()
        alone = fastmlp.MLP(SIZES, seed=0)
        fastmlp.Trainer(alone, seed=0).fit(X, y, 60)
        net = fastmlp.MLP(SIZES, seed=0)
        first, second = fastmlp.Trainer(net, seed=0), fastmlp.Trainer(net, seed=0)
        inside, go_on, said = threading.Event(), threading.Event(), []

        def wait(epoch, history):
            inside.set()
            go_on.wait(30)

        fitting = threading.Thread(target=first.fit, args=(X, y, 60), kwargs=dict(callback=wait))
        fitting.start()
        inside.wait(30)
        history = first.history
        for trainer in (first, second):
            for _ in range(3):
                try:
                    trainer.fit(X, y, 1)
                except RuntimeError as error:
                    said.append(str(error))
        assert len(said) == 6 and all("already being fitted" in each for each in said), said
        assert first.history is history and second.history is None
        other = fastmlp.MLP(SIZES, seed=0)
        assert fastmlp.Trainer(other, seed=0).fit(X, y, 1).stop_reason == "epochs"  # of another network
        go_on.set()
        fitting.join()
        assert history.stop_reason == "epochs" and len(history.loss) == 60
        assert (net.parameters == alone.parameters).all()
        assert second.fit(X, y, 1).stop_reason == "epochs"
    """
    run(tmp_path, script, timeout=60)


def test_23_of_many_that_begin_at_once_one_fits(tmp_path):
    script = """
        from work import *

        X, y = problem()
        for _ in range(50):
            net, ends, together = fastmlp.MLP(SIZES, seed=0), [], threading.Barrier(8)

            def one():
                trainer = fastmlp.Trainer(net, batch_size=None, seed=0)
                together.wait(30)
                try:
                    ends.append(trainer.fit(X, y, 3).stop_reason)
                except RuntimeError as error:
                    ends.append(str(error)[:7])

            threads = [threading.Thread(target=one) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(ends) == 8 and set(ends) <= {"epochs", "network"} and "epochs" in ends, ends
            assert fastmlp.Trainer(net).fit(X, y, 1).stop_reason == "epochs"
    """
    run(tmp_path, script)


def test_23_predictions_while_the_network_is_fitted(tmp_path):
    """They are not synchronised with the fit's end and callbacks: any mixture of two states, never more."""
    script = """
        from work import *

        X, y = problem()
        few = X[:10].copy()
        net, stop = fastmlp.MLP(SIZES, seed=0), threading.Event()

        def fit_on():
            trainer = fastmlp.Trainer(net, seed=0, standardize=True, n_threads=2)
            while not stop.is_set():
                trainer.fit(X, y, 3, callback=lambda *_: None)

        def predict():
            for i in range(300):
                some = few if i % 2 else X
                E = net.predict(some, n_threads=1 + i % 3)
                assert E.shape == (len(some),) and np.isfinite(E).all() and (np.abs(E) < 1e3).all()

        fitting = threading.Thread(target=fit_on)
        fitting.start()
        failed, threading.excepthook = [], lambda args: failed.append(args.exc_value)
        predicting = [threading.Thread(target=predict) for _ in range(4)]
        for thread in predicting:
            thread.start()
        for thread in predicting:
            thread.join()
        stop.set()
        fitting.join()
        assert not failed, failed
    """
    run(tmp_path, script)


def test_23_predictions_during_training_are_of_the_state_before(tmp_path):
    """The network stays as it was until the end of the fit: predictions meanwhile are the old ones."""
    script = """
        from concurrent.futures import ThreadPoolExecutor
        from work import *

        X, y = problem()
        net, ending = fastmlp.MLP(SIZES, seed=0), threading.Event()
        trainer = fastmlp.Trainer(net, batch_size=None, seed=0)
        before, seen, FitLoop = net.predict(X[:500]), [], fastmlp.kernels.fit_loop(net.dtype)

        class Ending(FitLoop):
            def finish(self):
                ending.set()
                super().finish()

        fastmlp.kernels.fit_loop = lambda dtype: Ending
        fitting = threading.Thread(target=trainer.fit, args=(X, y, 400))

        def predict(_):
            while not ending.is_set():
                found = net.predict(X[:500])
                if not ending.is_set():  # nor was it during the prediction
                    seen.append((found == before).all())

        fitting.start()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(predict, range(4)))
        fitting.join()
        assert len(seen) > 10 and all(seen), (len(seen), all(seen))
        assert (net.predict(X[:500]) != before).any()
    """
    run(tmp_path, script)
