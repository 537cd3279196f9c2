"""Fits and predictions in processes and threads of others: the same bits, nothing hangs, nothing grows.

Each case runs in a process of its own, with a hard limit of time.
"""

import programs
import pytest


def run(folder, name, timeout=120, arguments=()):
    """Run a script of the folder processes, in a folder of its own."""
    # 3.12 and later warn of forks among threads
    options = ("-W", "error", "-W", "ignore::DeprecationWarning")
    programs.output(f"processes/{name}.py", *arguments, timeout=timeout, options=options, cwd=folder)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_17_children_of_each_kind_fit_and_predict(tmp_path, method):
    """After a threaded fit in the parent, and while another thread of it is inside one."""
    run(tmp_path, "children", arguments=[method], timeout=60)


def test_17_fork_among_fits_and_predictions_in_a_pool(tmp_path):
    """A child has the networks and none of the threads: nothing is under way there."""
    run(tmp_path, "fork_in_a_pool", timeout=60)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_09_memory_mapped_arguments_of_joblib(tmp_path, backend):
    """Large arguments come to joblib's processes as read-only memory maps."""
    run(tmp_path, "joblib_maps", arguments=[backend])


def test_09_read_only_memory_maps(tmp_path):
    """Of each argument, by NumPy alone, of a file that may not be written to; not a byte of it changes."""
    run(tmp_path, "read_only_maps")


@pytest.mark.parametrize("pool", ["thread_pool", "joblib", pytest.param("dask", marks=pytest.mark.peers)])
def test_19_threads_of_other_pools_stay_within_the_quota(tmp_path, pool):
    run(tmp_path, "quota", arguments=[pool])


@pytest.mark.peers
def test_19_processes_of_dask(tmp_path):
    run(tmp_path, "dask_processes")


@pytest.mark.parametrize("changed", ["numbers", "nan", "weights"])
@pytest.mark.parametrize("n_threads", ["1", "2"])
def test_22_arrays_that_another_thread_changes(tmp_path, changed, n_threads):
    """Whatever training finds there: it ends, with finite weights, and the next fit is sound."""
    run(tmp_path, "changing_arrays", arguments=[changed, n_threads])


def test_23_a_second_fit_of_a_network_is_refused(tmp_path):
    """By another trainer or the same one; the first goes on as if nothing had been, and so may the next."""
    run(tmp_path, "second_fit", timeout=60)


def test_23_of_many_that_begin_at_once_one_fits(tmp_path):
    run(tmp_path, "many_at_once")


def test_23_predictions_while_the_network_is_fitted(tmp_path):
    """They are not synchronised with the fit's end and callbacks: any mixture of two states, never more."""
    run(tmp_path, "predictions_during_fits")


def test_23_predictions_during_training_are_of_the_state_before(tmp_path):
    """The network stays as it was until the end of the fit: predictions meanwhile are the old ones."""
    run(tmp_path, "predictions_before_the_end")
