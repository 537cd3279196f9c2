"""Threads: the same bits for any number of them, none left over, none in the way of a forked child."""

import _thread
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import programs
import pytest

from fastmlp import MLP, Trainer, kernels

# Enough work that threads are worth it (MIN_THREADED_FLOPS in reduce.pxi), in several chunks: a wide network,
# a narrow one, one with all its sums in registers, and batches that are not whole blocks.
CASES = {
    "wide": ((16, 64, 1), 8003, None),
    "wide, three outputs": ((16, 64, 3), 8003, None),
    "narrow": ((8, 13, 2), 60_001, None),
    "tiny": ((3, 4, 1), 600_001, None),
    "batches": ((20, 100, 1), 9001, 5001),
}


def problem(sizes, n, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    d, _, m = sizes
    X, Y = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(n, m)).astype(dtype)
    return X, Y, rng.random(n).astype(dtype)


def helpers_started():
    """By all modules of the kernels."""
    modules = [module for name, module in sys.modules.items() if name.startswith("fastmlp.kernels._")]
    return sum(module.started_helpers() for module in modules if hasattr(module, "started_helpers"))


@pytest.fixture(autouse=True)
def many_processors(monkeypatch):
    """Threads do not pay where there are fewer processors than these tests want threads."""
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    else:
        monkeypatch.setattr(os, "cpu_count", lambda: 64)


@pytest.fixture
def started():
    """A function: how many helpers have been started since it was asked last."""
    before = helpers_started()

    def since():
        nonlocal before
        now, last = helpers_started(), before
        before = now
        return now - last

    return since


def trained(sizes, data, n_threads, batch_size=None, dtype="float32", epochs=3, seed=0, **options):
    X, Y, w = data
    net = MLP(sizes, dtype=dtype, seed=seed)
    trainer = Trainer(net, "adam", batch_size=batch_size, seed=seed, n_threads=n_threads)
    history = trainer.fit(X, Y, epochs, sample_weight=w, **options)
    return net.parameters.tobytes(), history.loss, history.validation_loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_33_same_bits_for_any_number_of_threads(build, started, case, dtype):
    sizes, n, batch_size = CASES[case]
    data = problem(sizes, n, dtype)
    options = dict(batch_size=batch_size, dtype=dtype, validation_data=data[:2])
    alone = trained(sizes, data, 1, **options)
    assert started() == 0
    for n_threads in (2, 3, 8):
        assert trained(sizes, data, n_threads, **options) == alone
        assert min(n_threads, 4) - 1 <= started() <= n_threads - 1


def test_33_a_hundred_seeds_and_one_to_eight_threads(started):
    sizes, n = (8, 32, 1), 26_000
    X, Y, _ = problem(sizes, n)
    most = 0
    for seed in range(100):
        alone = trained(sizes, (X, Y, None), 1, seed=seed, epochs=2)
        for n_threads in {2 + seed % 7, 8 - seed % 7}:
            assert trained(sizes, (X, Y, None), n_threads, seed=seed, epochs=2) == alone, (seed, n_threads)
            most = max(most, started())
    assert most >= 4


@pytest.mark.parametrize("case", CASES)
def test_33_predictions_and_gradients_have_the_same_bits(build, started, monkeypatch, case):
    sizes, n, _ = CASES[case]
    X, Y, w = problem(sizes, n)
    net = MLP(sizes, seed=0)
    E, loss, gradients = net.predict(X), net.loss(X, Y, w), net.loss_and_gradients(X, Y, w)
    assert started() == 0
    np.testing.assert_array_equal(net.predict(X, n_threads=3), E)
    assert started() == 2
    monkeypatch.setattr(kernels, "_default_threads", 2)  # as FASTMLP_NUM_THREADS=2 does
    assert net.loss(X, Y, w) == loss
    again = net.loss_and_gradients(X, Y, w)
    assert again[0] == gradients[0]
    for found, expected in zip(again[1], gradients[1], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert started() == 2


def test_environment_sets_the_default():
    command = [sys.executable, "-c", "import fastmlp; print(fastmlp.kernels.threads())"]
    done = subprocess.run(
        command, env=os.environ | {"FASTMLP_NUM_THREADS": "3"}, capture_output=True, text=True
    )
    assert done.stdout == "3\n", done.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_little_work_starts_no_threads(started, dtype):
    data = problem((3, 4, 1), 1309, dtype)
    trained((3, 4, 1), data, 4, dtype=dtype)
    MLP((3, 4, 1), dtype=dtype).predict(data[0], n_threads=4)
    assert started() == 0


def test_as_many_threads_as_pay(started):
    """A prediction of 0.1 ms takes two; one of 0.3 ms not 16."""
    X, _, _ = problem((16, 64, 1), 40_000)
    net = MLP((16, 64, 1), seed=0)
    for rows, low, high in ((7_000, 1, 2), (20_000, 3, 7), (40_000, 5, 11)):
        net.predict(X[:rows], n_threads=16)
        assert low <= started() <= high, rows


def test_no_more_threads_than_processors(started, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    X, _, _ = problem((16, 64, 1), 40_000)
    MLP((16, 64, 1)).predict(X, n_threads=16)
    assert started() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="how memory is limited differs")
def test_19_more_threads_than_there_can_be():
    """Those that could be started do the work, to the same bits, and none is left waiting."""
    started = []
    for stacks in (0, 1, 2, 3, 5, 40):
        command = [sys.executable, programs.SCRIPTS / "refused_threads.py", str(stacks)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        started.append(int(done.stdout))
    assert started == sorted(started)
    assert started[0] < 2
    assert 2 < started[-2] < started[-1]


def test_19_nothing_is_left_running():
    sizes, n, _ = CASES["wide"]
    data = problem(sizes, n)
    before = os_threads()
    for _ in range(50):
        trained(sizes, data, 4, epochs=1)
    assert settled(before)


def test_19_threads_stay_within_the_quota():
    """Four fits at once, of two threads each: eight threads, and four more that wait for them."""
    sizes, n, _ = CASES["wide"]
    data = problem(sizes, n)
    before, seen, over = os_threads(), [], threading.Event()

    def watch():
        while not over.wait(1e-3):
            seen.append(os_threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: trained(sizes, data, 2, epochs=40), range(8)))
    over.set()
    watcher.join()
    assert len({result[0] for result in results}) == 1
    # a helper that has just been sent home may still be seen beside its successor
    assert before + 1 < max(seen) <= before + 1 + 4 * 2 + 4


def test_17_exception_in_a_threaded_fit_leaves_no_thread():
    sizes, n, _ = CASES["wide"]
    X, Y, _ = problem(sizes, n)
    before = os_threads()

    def fail(epoch, history):
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        Trainer(MLP(sizes), batch_size=None, n_threads=4).fit(X, Y, callback=fail)
    assert settled(before)


FORK = """
import os, sys
import numpy as np, fastmlp
X, y = np.random.default_rng(0).normal(size=(8000, 16)), np.ones(8000)

def fit():
    net = fastmlp.MLP((16, 64, 1), seed=0)
    fastmlp.Trainer(net, batch_size=None, seed=0, n_threads=4).fit(X, y, 5)
    return net.predict(X, n_threads=4).tobytes()

found = fit()
{}
"""

FORK_BETWEEN = """
child = os.fork()
if child == 0:
    os._exit(0 if fit() == found else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

FORK_IN_CALLBACK = """
def fork(epoch, history):
    child = os.fork()
    if child == 0:
        os._exit(0 if fit() == found else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

fastmlp.Trainer(fastmlp.MLP((16, 64, 1)), batch_size=None, n_threads=4).fit(X, y, 3, callback=fork)
"""

FORK_DURING = """
import threading
stop = threading.Event()
net = fastmlp.MLP((16, 64, 1))
fitting = threading.Thread(target=lambda: fastmlp.Trainer(net, batch_size=None, n_threads=4).fit(
    X, y, 10**6, callback=lambda epoch, history: stop.is_set()))
fitting.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if fit() == found else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
fitting.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("forked", [FORK_BETWEEN, FORK_IN_CALLBACK, FORK_DURING])
def test_17_fit_in_a_forked_child(forked):
    run_python(FORK.format(forked), timeout=30)


BESIDE = """
import numpy as np
{}
X, y = np.random.default_rng(0).normal(size=(8000, 16)), np.ones(8000)
torch.set_num_threads(2)
alone = None
for n_threads in (1, 2, 4):
    net = fastmlp.MLP((16, 64, 1), seed=0)
    (torch.ones(600, 600) @ torch.ones(600, 600)).sum()
    HistGradientBoostingRegressor(max_iter=3).fit(X, y)
    fastmlp.Trainer(net, batch_size=None, seed=0, n_threads=n_threads).fit(X, y, 5)
    alone = alone or net.parameters.tobytes()
    assert net.parameters.tobytes() == alone
"""
OURS, SKLEARN, TORCH = (
    "import fastmlp",
    "from sklearn.ensemble import HistGradientBoostingRegressor",
    "import torch",
)


@pytest.mark.peers
@pytest.mark.parametrize("order", [(OURS, SKLEARN, TORCH), (SKLEARN, TORCH, OURS), (TORCH, OURS, SKLEARN)])
def test_18_beside_the_pools_of_sklearn_and_torch(order):
    run_python(BESIDE.format("\n".join(order)), timeout=120)


@pytest.mark.peers
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_19_joblib(backend):
    run_python(
        f"""
import joblib, numpy as np, fastmlp
X, y = np.random.default_rng(0).normal(size=(8000, 16)), np.ones(8000)

def fit(n_threads):
    net = fastmlp.MLP((16, 64, 1), seed=0)
    fastmlp.Trainer(net, batch_size=None, seed=0, n_threads=n_threads).fit(X, y, 5)
    return net.parameters.tobytes()

if __name__ == "__main__":
    found = joblib.Parallel(n_jobs=2, backend="{backend}")(joblib.delayed(fit)(1 + i % 3) for i in range(6))
    assert len(set(found)) == 1
""",
        timeout=120,
    )


def run_python(source, timeout):
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            source,
        ],  # 3.12 and later: fork among threads
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr


def os_threads():
    """Threads of this process, Python's and others."""
    if os.path.isdir("/proc/self/task"):
        return len(os.listdir("/proc/self/task"))
    return _thread._count() + 1


def settled(before):
    """Whether there are no more threads than before, when those on their way out have gone."""
    over = threading.Event()
    return any(os_threads() <= before or over.wait(0.01) for _ in range(500))


def test_23_many_threads_predict_with_one_network(build):
    X, _, _ = problem((5, 13, 3), 1000)
    net = MLP((5, 13, 3), seed=0)
    expected = net.predict(X)

    def predict(seed):
        rng = np.random.default_rng(seed)
        for _ in range(200):
            first, count = rng.integers(900), rng.choice([1, 2, 16, 17, 100])
            np.testing.assert_array_equal(
                net.predict(X[first : first + count]), expected[first : first + count]
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(predict, range(8)))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_23_many_threads_fit_networks_of_their_own(build, optimizer):
    X, Y, w = problem((5, 13, 3), 300)

    def fitted(seed):
        net = MLP((5, 13, 3), seed=seed)
        trainer = Trainer(net, optimizer, seed=seed, standardize=bool(seed % 2))
        trainer.fit(X, Y, epochs=20, sample_weight=w, validation_data=(X, Y), patience=5)
        return net.parameters

    alone = [fitted(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fitted, range(24)))
    np.testing.assert_array_equal(together, alone)
