# A team of threads, for the length of one call.
#
# Its threads are started when a call begins and gone when it ends: between calls there is nothing that
# a forked child could miss, that another library's pool could collide with, or that counts against a
# quota. OpenMP's threads outlive their loop: a forked child waits for them forever, and two copies of
# its runtime in one process get in each other's way.
#
# Two locks for each helper, one to start it and one to say that it is done; a chunk is claimed under a
# lock.

from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    NOWAIT_LOCK,
    WAIT_LOCK,
)

import _thread

cdef enum:
    THREADS = 16
    SPINS = 1000            # some 20 us; waking a sleeping thread takes 40 (both in a virtual machine)

ctypedef void (*Task)(void *context, Py_ssize_t chunk, Py_ssize_t thread) noexcept nogil


cdef class ThreadTeam:
    """At most THREADS threads, the caller's among them; `with` starts the others and sends them away."""
    cdef Py_ssize_t size
    cdef Py_ssize_t n_running     # helpers that have been started
    cdef bint accepted[THREADS]
    cdef Task task              # NULL: the helper ends
    cdef void *context
    cdef Py_ssize_t chunks, next
    cdef PyThread_type_lock next_task_lock
    cdef PyThread_type_lock start[THREADS]
    cdef PyThread_type_lock done[THREADS]

    def __cinit__(self, Py_ssize_t threads):
        cdef Py_ssize_t i
        self.size = min(threads, THREADS)
        if self.size == 1:
            return
        self.next_task_lock = held_lock()
        PyThread_release_lock(self.next_task_lock)
        for i in range(1, self.size):
            self.start[i] = held_lock()
            self.done[i] = held_lock()

    def __dealloc__(self):
        cdef Py_ssize_t i
        free_lock(self.next_task_lock)
        for i in range(THREADS):
            free_lock(self.start[i])
            free_lock(self.done[i])

    def __enter__(self):
        cdef Py_ssize_t i
        for i in range(1, self.size):
            self.accepted[i] = True
            try:
                _thread.start_new_thread(self.worker_main, (i,))
            except BaseException as error:
                # If the thread did start before the exception, it sees this and ends.
                self.accepted[i] = False
                self.size = i
                PyThread_release_lock(self.start[i])
                if isinstance(error, (RuntimeError, MemoryError)):
                    break  # no more threads can be started: continue with those that run
                self.__exit__()  # Python does not call it where __enter__ raises
                raise
            self.n_running = i

    def __exit__(self, *exception):
        self.task = NULL
        with nogil:
            self.wake_workers()
        self.n_running = 0

    def worker_main(self, Py_ssize_t thread):
        """What a helper does until it is sent home."""
        with nogil:
            while True:
                wait_for(self.start[thread])
                if self.task == NULL or not self.accepted[thread]:
                    PyThread_release_lock(self.done[thread])
                    break
                self.run_tasks(thread)
                PyThread_release_lock(self.done[thread])

    cdef void run(self, Task task, void *context, Py_ssize_t chunks) noexcept nogil:
        """task(context, chunk, thread) for every chunk, in any order, by whoever is free."""
        self.task, self.context, self.chunks, self.next = task, context, chunks, 0
        if self.n_running and chunks > 1:
            self.wake_workers()
        else:
            self.run_tasks(0)

    cdef void wake_workers(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(1, self.n_running + 1):
            PyThread_release_lock(self.start[i])
        if self.task != NULL:
            self.run_tasks(0)
        for i in range(1, self.n_running + 1):
            wait_for(self.done[i])

    cdef void run_tasks(self, Py_ssize_t thread) noexcept nogil:
        cdef Py_ssize_t chunk
        while True:
            if self.n_running:
                PyThread_acquire_lock(self.next_task_lock, WAIT_LOCK)
            chunk = self.next
            self.next += 1
            if self.n_running:
                PyThread_release_lock(self.next_task_lock)
            if chunk >= self.chunks:
                return
            self.task(self.context, chunk, thread)


cdef void wait_for(PyThread_type_lock lock) noexcept nogil:
    """Take the lock; look for it some SPINS times before going to sleep, from which waking takes so long."""
    cdef int i
    for i in range(SPINS):
        if PyThread_acquire_lock(lock, NOWAIT_LOCK):
            return
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
