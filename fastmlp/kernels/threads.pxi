# A team of threads, for the length of one call.
#
# Its helpers are started when a task first wants them and gone when the call ends: between calls there is
# nothing that a forked child could miss, that another library's pool could collide with, or that counts
# against a quota. OpenMP's threads outlive their loop: a forked child waits for them forever, and two copies
# of its runtime in one process get in each other's way. Helpers are the system's threads, without a Python
# state: nothing waits for the GIL.
#
# Each helper wakes (or starts) two others before it begins, so that 15 of them take as long as 4, while the
# caller is at work already. The last to finish says so.

from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    NOWAIT_LOCK,
    WAIT_LOCK,
)

import os

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_start_new_thread(void (*function)(void *) noexcept nogil, void *argument)
    unsigned long PYTHREAD_INVALID_THREAD_ID

cdef extern from "atomics.h" nogil:
    Py_ssize_t fetch_add(Py_ssize_t *n, Py_ssize_t more)
    void spin()

cdef enum:
    THREADS = 64
    SPINS = 500             # some 20 us; waking a sleeping thread takes 40 (both in a virtual machine)

# Operations in the time that one more thread costs a task, 12 us: 20 000 rows of 16-64-1 (0.9 ms), fitted on
# 16 cores of a Xeon, took 0.21 ms with 8 threads and 0.26 with 16.
cdef double THREAD_FLOPS = 1.2e6

ctypedef void (*Task)(void *context, Py_ssize_t chunk, Py_ssize_t thread) noexcept nogil

cdef struct Team

cdef struct Helper:
    Team *team
    Py_ssize_t number
    PyThread_type_lock wake
    bint runs

cdef struct Team:
    Py_ssize_t size             # threads at most, the caller's among them
    Helper helpers[THREADS]     # from 1 on; 0 is the caller
    PyThread_type_lock done
    Task task                   # NULL: the helpers end
    void *context
    Py_ssize_t chunks, helping  # of the task; how many helpers it wants
    Py_ssize_t next, busy       # changed by all: the first chunk that nobody has, and helpers not yet through

cdef Py_ssize_t helpers_started = 0


def started_helpers():
    """How many helpers have been started since the import; for tests."""
    return fetch_add(&helpers_started, 0)


cdef Py_ssize_t usable_processors() except -1:
    """That this process may run on: more threads than these only wait for each other."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


cdef Py_ssize_t threads_that_pay(double flops) noexcept nogil:
    """For so many operations: T/t + t times the cost of a thread is least where t is the root of T/cost."""
    return max(1, <Py_ssize_t> sqrt(flops / THREAD_FLOPS))


cdef int make_team(Team *team, Py_ssize_t size) except -1:
    """A team of at most so many threads, in memory that is 0; no helper runs yet."""
    cdef Py_ssize_t i
    team.size = 1
    if size > 1:
        team.size = min(size, THREADS, usable_processors())
    if team.size == 1:
        return 0
    team.done = held_lock()
    for i in range(1, team.size):
        team.helpers[i].team, team.helpers[i].number = team, i
        team.helpers[i].wake = held_lock()
    return 0


cdef void free_team(Team *team) noexcept:
    cdef Py_ssize_t i
    free_lock(team.done)
    for i in range(1, THREADS):
        free_lock(team.helpers[i].wake)


cdef inline void run_task(Team *team, Task task, void *context, Py_ssize_t chunks,
                          double flops) noexcept nogil:
    """task(context, chunk, thread) for every chunk, in any order, by as many threads as pay."""
    cdef Py_ssize_t i
    if team.size > 1 and chunks > 1:
        share_task(team, task, context, chunks, flops)
        return
    for i in range(chunks):
        task(context, i, 0)


cdef void share_task(Team *team, Task task, void *context, Py_ssize_t chunks, double flops) noexcept nogil:
    cdef Py_ssize_t i
    team.task, team.context, team.chunks, team.next = task, context, chunks, 0
    team.helping = min(team.size, chunks, threads_that_pay(flops)) - 1
    work_together(team)
    for i in range(1, team.helping + 1):
        if not team.helpers[i].runs:  # no more threads can be started: continue with those that run
            team.size = i
            break


cdef void send_home(Team *team) noexcept nogil:
    """End all helpers."""
    cdef Py_ssize_t i
    team.task, team.chunks, team.helping = NULL, 0, 0
    for i in range(1, THREADS):
        if team.helpers[i].runs:
            team.helping = i
    work_together(team)
    for i in range(1, THREADS):
        team.helpers[i].runs = False


cdef void work_together(Team *team) noexcept nogil:
    """Have the helpers do their part, and do one's own; return when all is done."""
    team.busy = team.helping
    wake_two(team, 0)
    run_chunks(team, 0)
    if team.helping:
        wait_for(team.done)


cdef void wake_two(Team *team, Py_ssize_t number) noexcept nogil:
    cdef Py_ssize_t i
    cdef Helper *helper
    for i in range(2 * number + 1, min(2 * number + 2, team.helping) + 1):
        helper = &team.helpers[i]
        if helper.runs:
            PyThread_release_lock(helper.wake)
        elif team.task != NULL and start_helper(helper):
            helper.runs = True
        else:
            wake_two(team, i)
            finish_part(team)


cdef bint start_helper(Helper *helper) noexcept nogil:
    """Whether there could be one more thread."""
    if PyThread_start_new_thread(help_team, helper) == PYTHREAD_INVALID_THREAD_ID:
        return False
    fetch_add(&helpers_started, 1)
    return True


cdef void help_team(void *argument) noexcept nogil:
    """What a helper does until it is sent home."""
    cdef Helper *helper = <Helper *> argument
    cdef Team *team = helper.team
    cdef bint ends = False
    while not ends:
        ends = team.task == NULL
        wake_two(team, helper.number)
        run_chunks(team, helper.number)
        finish_part(team)  # the team may be gone
        if not ends:
            wait_for(helper.wake)


cdef void finish_part(Team *team) noexcept nogil:
    if fetch_add(&team.busy, -1) == 1:
        PyThread_release_lock(team.done)


cdef void run_chunks(Team *team, Py_ssize_t thread) noexcept nogil:
    cdef Py_ssize_t chunk
    while True:
        chunk = fetch_add(&team.next, 1)
        if chunk >= team.chunks:
            return
        team.task(team.context, chunk, thread)


cdef void wait_for(PyThread_type_lock lock) noexcept nogil:
    """Take the lock; look for it some SPINS times before going to sleep, from which waking takes so long."""
    cdef int i
    for i in range(SPINS):
        if PyThread_acquire_lock(lock, NOWAIT_LOCK):
            return
        spin()
    PyThread_acquire_lock(lock, WAIT_LOCK)


cdef PyThread_type_lock held_lock() except NULL:
    cdef PyThread_type_lock lock = PyThread_allocate_lock()
    if lock == NULL:
        raise MemoryError("no memory for a lock")
    PyThread_acquire_lock(lock, WAIT_LOCK)
    return lock


cdef void free_lock(PyThread_type_lock lock) noexcept:
    if lock != NULL:
        PyThread_free_lock(lock)
