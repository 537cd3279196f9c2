"""Writing files: each system call and each allocation of a save, and of a fit, made to fail for real."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from safetensors import safe_open

from fastmlp import MLP, Trainer
from fastmlp.io import files
from fastmlp.training import data

KINDS = ["model", "checkpoint"]

# A save of one kind that is always the same but for its seed; first in each of the scripts below
SAVING = """
import os, sys
import fastmlp

def saving(kind, seed, hidden=4):
    "What writes a file of this kind to a path."
    net = fastmlp.MLP((3, hidden, 1), seed=seed)
    if kind == "model":
        return net.save
    trainer = fastmlp.Trainer(net, seed=seed, standardize=True)
    trainer.fit(*fastmlp.load_titanic(), epochs=2)
    return trainer.save_checkpoint

def told(save, path):
    "How a save ends, in a line."
    try:
        save(path)
    except OSError as error:
        return f"{type(error).__name__}, {error.errno}, {error.filename}"
    return "saved"

kind, path = sys.argv[1:3]
"""


def run_python(source, *arguments, command=(), environment=None):
    done = subprocess.run(
        [*command, sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | (environment or {}),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(path):
    """All that a file says: it is whole, or this raises."""
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    if metadata["format"] == "fastmlp":
        MLP.load(path)  # which compares the digest
    else:
        from fastmlp.training import checkpoint

        checkpoint.load(path)
    return tensors, metadata


# Names and permissions


def test_a_name_as_long_as_the_system_takes(tmp_path):
    path = tmp_path / ("ä" * 127)  # of 255 bytes, where a character takes two of them
    MLP((3, 4, 1)).save(path)
    MLP((3, 4, 1), seed=2).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(MLP.load(path).parameters, MLP((3, 4, 1), seed=2).parameters)


@pytest.mark.skipif(os.name != "posix", reason="permissions of Unix")
def test_a_new_file_has_the_permissions_of_any_other(tmp_path, monkeypatch):
    """The umask is not looked up: only setting it shows it, and then for all threads of the process."""
    (tmp_path / "other").touch()
    monkeypatch.setattr("os.umask", None)
    MLP((3, 4, 1)).save(tmp_path / "net")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "net")}
    assert len(modes) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions of Unix")
def test_nobody_reads_a_private_file_while_it_is_replaced(tmp_path, monkeypatch):
    path, seen = tmp_path / "net", []
    MLP((3, 4, 1)).save(path)
    path.chmod(0o600)
    sync = os.fsync

    def look(descriptor):
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", look)
    MLP((3, 4, 1), seed=2).save(path)
    assert seen[0] == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    link, path = tmp_path / "link", tmp_path / "folder" / "net"
    try:
        link.symlink_to(path)
    except OSError:
        pytest.skip("this system makes no links for this user")
    for seed in (1, 2):  # a dangling one too
        MLP((3, 4, 1), seed=seed).save(link)
        assert link.is_symlink()
        np.testing.assert_array_equal(MLP.load(path).parameters, MLP((3, 4, 1), seed=seed).parameters)


# No room


NO_ROOM = (
    SAVING
    + """
saving(kind, 1)(path)
exec(os.environ["FULL"])
print(told(saving(kind, 2, hidden=5000), path))
"""
)

# the system writes up to the limit, and then refuses: a short write, and an error at the next
FILE_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
"""


def no_room(kind, path, full, **options):
    """How a save ends for which there is no room, and that it leaves nothing but the old file."""
    return run_python(NO_ROOM, kind, path, environment={"FULL": full}, **options).strip()


@pytest.mark.skipif(os.name != "posix", reason="limits of Unix")
@pytest.mark.parametrize("kind", KINDS)
def test_26_a_file_that_may_not_grow(tmp_path, kind):
    path, other = tmp_path / "file", tmp_path / "other"
    assert no_room(kind, path, FILE_LIMIT) == f"OSError, 27, {os.path.realpath(path)}"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    run_python(SAVING + "saving(kind, 1)(path)", kind, other)
    assert content(path)[0]["seconds" if kind == "checkpoint" else "0.weight"]
    assert same_but_for_times(path, other)


def same_but_for_times(path, other):
    """Whether two files say the same; the seconds that epochs took differ, and with them the digest."""
    (tensors, metadata), (others, other_metadata) = content(path), content(other)
    for each in (tensors, others, metadata, other_metadata):
        each.pop("seconds", None)
        each.pop("digest", None)
    return tensors == others and metadata == other_metadata


FULL_DISK = """
mounted = os.path.dirname(path)
with open(os.path.join(mounted, "filler"), "wb") as filler:
    filler.write(bytes(os.statvfs(mounted).f_bavail * 4096 - 20_000))
before = open(path, "rb").read()
import atexit
@atexit.register
def check():
    assert sorted(os.listdir(mounted)) == ["file", "filler"], os.listdir(mounted)
    assert open(path, "rb").read() == before
"""


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
def test_26_a_full_disk(tmp_path, kind):
    """A file system of its own, which is gone when the process ends."""
    own = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    mount = f"mount -t tmpfs -o size=128k tmpfs {tmp_path}"
    if subprocess.run([*own, mount], capture_output=True, timeout=60).returncode:
        pytest.skip("this user may not mount file systems; the test before this one needs none")
    found = no_room(kind, tmp_path / "file", FULL_DISK, command=[*own, f'{mount} && exec "$@"', "sh"])
    assert found == f"OSError, 28, {os.path.realpath(tmp_path / 'file')}"


# System calls. A server has all imported and has saved once; for each injection it forks a child, which stops
# itself until strace has attached, saves between two marks, and tells how that has ended.

SERVER = (
    SAVING
    + """
import ctypes, signal
ANY_TRACER = (0x59616D61, ctypes.c_ulong(-1))
signal.alarm(600)
other = sys.argv[3]
save = saving(kind, 2)
save(other)
print("ready", flush=True)
libc = ctypes.CDLL(None)

def child():
    signal.alarm(60)
    libc.prctl(*ANY_TRACER)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.access("/begin", os.F_OK)
    line = told(save, path)
    os.access("/end", os.F_OK)
    print(line, flush=True)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    os.waitpid(pid, os.WUNTRACED)
    print(pid, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
)


@pytest.fixture(scope="module", params=KINDS)
def saver(request, tmp_path_factory):
    """Function of an injection: (the calls of a save, what it told or None, what strace said)."""
    folder = tmp_path_factory.mktemp(request.param)
    path, old, new = (folder / name for name in ("target/file", "old", "new"))
    trace = folder / "trace"
    run_python(SAVING + "saving(kind, 1)(path)", request.param, old)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, request.param, str(path), str(new)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout.readline() == "ready\n"

    def save(*injection):
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        shutil.copy(old, path)
        server.stdin.write("go\n")
        server.stdin.flush()
        pid = int(server.stdout.readline())
        strace = subprocess.Popen(
            ["strace", "-p", str(pid), "-o", trace, "-s", "4096", *injection],
            stderr=subprocess.PIPE,
            text=True,
        )
        attached = strace.stderr.readline()
        assert "attached" in attached, attached + strace.stderr.read()
        os.kill(pid, signal.SIGCONT)
        strace.communicate(timeout=120)
        first = server.stdout.readline().strip()
        told = None if first.startswith("ended") else first
        if told is not None:
            assert server.stdout.readline().startswith("ended")
        return calls_of(trace.read_text()), told, trace.read_text()

    save.path, save.old, save.new = path, old, new
    yield save
    server.stdin.close()
    server.stdout.close()
    assert server.wait(timeout=60) == 0


def calls_of(trace):
    """[(name, which call of that name since strace attached, its line)] between the marks."""
    counts, calls, inside = {}, [], False
    for line in trace.splitlines():
        name = re.match(r"\w+(?=\()", line)
        if not name:
            continue
        counts[name[0]] = counts.get(name[0], 0) + 1
        if '"/end"' in line:
            inside = False
        if inside:
            calls.append((name[0], counts[name[0]], line))
        inside = inside or '"/begin"' in line
    return calls


def saved_calls(saver):
    """The calls of a save to which nothing happens: there is all that a safe one needs, in order."""
    calls, told, _ = saver()
    assert told == "saved"
    assert content(saver.path) == content(saver.new) != content(saver.old)
    text = "\n".join(line for *_, line in calls)
    assert re.search(
        r"openat\(.*O_EXCL.*\n(.*\n)*write\(.*\n(.*\n)*fsync\(.*\n(.*\n)*rename.*\n(.*\n)*fsync", text
    )
    return calls


@pytest.mark.system
def test_25_killed_at_any_system_call(saver):
    old, new = content(saver.old), content(saver.new)
    found = []
    for name, which, line in saved_calls(saver):
        _, told, trace = saver("-e", f"inject={name}:signal=SIGKILL:when={which}")
        assert told is None, line
        assert "+++ killed by SIGKILL +++" in trace, line
        assert '"/end"' not in trace, line
        found.append(content(saver.path))
        assert found[-1] in (old, new), line
        others = [entry.name for entry in saver.path.parent.iterdir() if entry != saver.path]
        assert len(others) <= 1, line
        assert all(other.startswith(f".{saver.path.name}.") for other in others), line
    assert found == sorted(found, key=lambda each: each == new)  # first the old one, then the new one
    assert found[0] == old
    assert found[-1] == new


# What a save rightly takes no notice of. Everything else is an OSError that names the target.
IGNORED = {
    "looking for links on the way to the target": (
        # as os.path.realpath does: what cannot be looked at is taken as it is, and if it cannot be used
        # either, a later call says so
        lambda line, renamed: (
            not renamed and ("AT_SYMLINK_NOFOLLOW" in line or re.match("lstat|readlink", line))
        )
    ),
    "putting the folder on the disk": (
        # the new file is there, whole; but for a power cut within seconds it stays; some file systems cannot
        lambda line, renamed: renamed
    ),
}
# Failures of these are failures to get memory, below; or cannot be.
OF_MEMORY = {"brk", "futex", "getpid", "madvise", "mmap", "mprotect", "mremap", "munmap", "rt_sigaction"}


@pytest.mark.system
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_26_an_error_of_any_system_call(saver, error):
    old, new = content(saver.old), content(saver.new)
    number = {"ENOSPC": 28, "EIO": 5}[error]
    refused, ignored = set(), set()
    renamed = False
    for name, which, line in saved_calls(saver):
        renamed = renamed or name.startswith("rename")
        if name in OF_MEMORY:
            continue
        after = renamed and not name.startswith("rename")
        _, told, trace = saver("-e", f"inject={name}:error={error}:when={which}")
        assert trace.count("(INJECTED)") == 1, line
        assert [entry.name for entry in saver.path.parent.iterdir()] == [saver.path.name], line
        if any(rightly(line, after) for rightly in IGNORED.values()):
            ignored.add(name)
            assert told == "saved", line
            assert content(saver.path) == new, line
        else:
            refused.add(name)
            assert told == f"OSError, {number}, {saver.path}", line
            assert content(saver.path) == old, line
    assert {"openat", "write", "fsync", "close"} <= refused
    assert any(name.startswith("rename") for name in refused)
    assert any(name.endswith("chmod") or name == "fchmodat" for name in refused)
    assert {"openat", "fsync", "close"} <= ignored


@pytest.mark.system
def test_26_a_write_that_writes_less_than_it_says(saver):
    """The kernel's count is made up, and nothing is written: no such file gets the name."""
    old = content(saver.old)
    writes = [(which, line) for name, which, line in saved_calls(saver) if name == "write"]
    assert writes
    for which, line in writes:
        size = int(line.rsplit("= ", 1)[1])
        for count in (0, 1, size - 1, size):
            _, told, trace = saver("-e", f"inject=write:retval={count}:when={which}")
            assert trace.count("(INJECTED)") == 1
            assert told == f"OSError, 5, {saver.path}", (count, line)
            assert content(saver.path) == old
            assert [entry.name for entry in saver.path.parent.iterdir()] == [saver.path.name]


# Allocations. A library that is loaded before all others makes the k-th one fail; with PYTHONMALLOC=malloc
# each small object is one too.

ALLOCATIONS = """
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), __libc_free(void *);

/* set by the test; calls of at least so many bytes since then; whether one has failed; bytes in use */
long fail_at, at_least, seen, failed, live;

static int refused(size_t size) {
    if (!fail_at || size < (size_t) at_least || __atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED) != fail_at)
        return 0;
    failed = 1;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *p) {
    __atomic_add_fetch(&live, (long) malloc_usable_size(p), __ATOMIC_RELAXED);
    return p;
}

void *malloc(size_t size) { return refused(size) ? NULL : counted(__libc_malloc(size)); }

void *calloc(size_t n, size_t size) { return refused(n * size) ? NULL : counted(__libc_calloc(n, size)); }

void *memalign(size_t to, size_t size) { return refused(size) ? NULL : counted(__libc_memalign(to, size)); }

void *aligned_alloc(size_t to, size_t size) { return memalign(to, size); }

int posix_memalign(void **p, size_t to, size_t size) {
    void *found = memalign(to, size);
    if (!found)
        return ENOMEM;
    *p = found;
    return 0;
}

void *realloc(void *p, size_t size) {
    long before = malloc_usable_size(p);
    void *found;
    if (refused(size))
        return NULL;
    found = __libc_realloc(p, size);
    if (found || !size)
        __atomic_add_fetch(&live, (long) malloc_usable_size(found) - before, __ATOMIC_RELAXED);
    return found;
}

void free(void *p) {
    __atomic_sub_fetch(&live, (long) malloc_usable_size(p), __ATOMIC_RELAXED);
    __libc_free(p);
}
"""

FAILING = """
import _thread, ctypes, gc, json, linecache, os, sys, time
import numpy as np
import fastmlp
from fastmlp import MLP, Trainer

which, repeats = sys.argv[1], int(sys.argv[2])
library = ctypes.CDLL(os.environ["LD_PRELOAD"])
fail_at, at_least, seen, failed, live = (
    ctypes.c_long.in_dll(library, name) for name in ("fail_at", "at_least", "seen", "failed", "live")
)
at_least.value = int(sys.argv[3])
rng = np.random.default_rng(0)
X, y = rng.normal(size=(200, 3)).astype("float32"), rng.normal(size=200).astype("float32")
rows, targets = rng.normal(size=(8000, 16)).astype("float32"), rng.normal(size=(8000, 2)).astype("float32")
net, wide = MLP((3, 4, 1), seed=0), MLP((16, 64, 2), seed=0)

def fitted(sizes, X, y, n_threads=1, batch_size=32, standardize=False, **options):
    net = MLP(sizes, seed=1)
    settings = dict(batch_size=batch_size, n_threads=n_threads, standardize=standardize)
    trainer = Trainer(net, "adam", 0.01, seed=1, **settings)
    history = trainer.fit(X, y, 3, **options)
    return net.parameters.tobytes(), history.loss, history.validation_loss

def gradients(net, X, y):
    loss, (dW1, dW2) = net.loss_and_gradients(X, y)
    return loss, dW1.tobytes(), dW2.tobytes()

CALLS = {
    "one row": lambda: net.predict(X[:1]).tobytes(),
    "few rows": lambda: wide.predict(rows[:10]).tobytes(),
    "many rows": lambda: wide.predict(rows).tobytes(),
    "lists": lambda: net.predict([[1.0, 2.0, 3.0]] * 600).tobytes(),
    "rows, two threads": lambda: wide.predict(rows, n_threads=2).tobytes(),
    "rows, four threads": lambda: wide.predict(rows, n_threads=4).tobytes(),
    "loss and gradients": lambda: gradients(net, X, y),
    "wide loss and gradients": lambda: gradients(wide, rows, targets),
    "fit": lambda: fitted((3, 4, 1), X, y),
    "fit, validation": lambda: fitted(
        (3, 4, 1), X, y, standardize=True, validation_data=(X[:50], y[:50]), patience=2
    ),
    "wide fit": lambda: fitted((16, 64, 2), rows[:500], targets[:500], sample_weight=np.ones(500)),
    "wide fit, two threads": lambda: fitted((16, 64, 2), rows, targets, n_threads=2, batch_size=None),
}
call = CALLS[which]

def attempt(k):
    "The result, the error and where it was raised, each or None, where the k-th allocation fails."
    seen.value, failed.value, fail_at.value = 0, 0, k
    try:
        return call(), None, None
    except Exception as error:
        fail_at.value = 0
        step = error.__traceback__
        while step.tb_next is not None:
            step = step.tb_next
        return None, f"{type(error).__name__}: {error}", (step.tb_frame.f_code.co_filename, step.tb_lineno)
    finally:
        fail_at.value = 0

def of_others(error, where):
    "Whether an error is what Python, NumPy or OpenSSL make of one of their own small allocations."
    line = linecache.getline(*where)
    ours = where[0].endswith((".pxi", "kernels/__init__.py")) or "kernels" in line or "loop." in line
    return not ours and (
        error.startswith("RuntimeError: can't allocate ") and error.endswith("lock")
        or error.startswith("SystemError: ")
        and error.endswith((" without setting an exception", "error return without exception set"))
        or error.startswith("ValueError: ") and "[digital envelope routines]" in error
    )

def used():
    "What the process holds, when threads on their way out have gone."
    for _ in range(200):
        if len(os.listdir("/proc/self/task")) <= THREADS:
            break
        time.sleep(0.005)
    return {"threads": len(os.listdir("/proc/self/task")), "files": len(os.listdir("/proc/self/fd"))}

THREADS = len(os.listdir("/proc/self/task"))  # before the first call: this one, and maybe NumPy's
started, start = [], _thread.start_new_thread
_thread.start_new_thread = lambda *work: started.append(work) or start(*work)
expected = [call() for _ in range(3)][0]
_thread.start_new_thread = start
assert ("threads" in which) == bool(started)
started.clear()

if repeats > 1:  # not a lock, when nothing fails
    gc.collect()
    bytes_before = live.value
    for _ in range(300):
        call()
    used()
    gc.collect()
    assert live.value - bytes_before < 300 * 8, live.value - bytes_before

before, errors, k = used(), 0, 0
while True:
    k += 1
    for _ in range(repeats):  # a few times, so that what is kept for next time is there
        found, error, where = attempt(k)
    if not failed.value:
        break
    errors += error is not None
    at = f"allocation {k}: {found!r:.50} {error} {where}"
    if error is None:
        assert found == expected, at
    else:
        assert error.startswith("MemoryError") or of_others(error, where), at
    assert used() == before, f"{at}: {before} {used()}"
    assert call() == expected, at
    if repeats > 1:
        gc.collect()
        bytes_before = live.value
        for _ in range(60):
            attempt(k)
        used()
        gc.collect()
        # less than the smallest that fails here; some kilobytes in all come and go in Python's caches
        assert (live.value - bytes_before) / 60 < at_least.value / 2, f"{at}: {live.value - bytes_before}"
print(json.dumps({"failed": k - 1, "errors": errors}))
"""

CALLS = re.findall(r'^    "([\w, ]+)": ', FAILING, re.MULTILINE)


@pytest.fixture(scope="module")
def allocations(tmp_path_factory):
    """The environment in which allocations can be made to fail."""
    folder = tmp_path_factory.mktemp("allocations")
    (folder / "allocations.c").write_text(ALLOCATIONS)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", "allocations.so", "allocations.c"],
        cwd=folder,
        check=True,
        timeout=60,
    )
    return {"LD_PRELOAD": str(folder / "allocations.so"), "PYTHONMALLOC": "malloc"}


@pytest.mark.system
@pytest.mark.parametrize("call", CALLS)
def test_24_no_memory_at_any_allocation(allocations, call):
    found = json.loads(run_python(FAILING, call, 1, 0, environment=allocations))
    assert found["failed"] >= 3  # the result, a float or two of arguments, and what Python makes of a call
    assert found["errors"] >= 0.5 * found["failed"]  # a thread less is no error


@pytest.mark.system
@pytest.mark.parametrize("call", CALLS)
def test_24_no_memory_for_an_array_leaks_nothing(allocations, call):
    """For those of 1 KB and more: arrays, and what the kernels work in. Nor do calls that succeed.

    Python and NumPy keep, or even lose, some hundred bytes of theirs when a smaller one fails.
    """
    found = json.loads(run_python(FAILING, call, 4, 1024, environment=allocations))
    assert found["failed"] >= (0 if call == "one row" else 1)


SHORT_OF_MEMORY = """
import os, resource, sys
from fastmlp import MLP

path = sys.argv[1]
MLP((3, 4, 1)).save(path)
net = MLP((999, 20_000, 1), seed=1)  # 80 MB
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for spare in range(20, 420, 40):
    resource.setrlimit(resource.RLIMIT_AS, (used + spare * 2**20, resource.RLIM_INFINITY))
    try:
        net.save(path)
    except MemoryError:
        assert os.listdir(os.path.dirname(path)) == ["net"]
        assert MLP.load(path).sizes == (3, 4, 1)
        print("refused")
        continue
    print("saved")
    break
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert (MLP.load(path).parameters == net.parameters).all()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_24_no_memory_for_a_save(tmp_path):
    """Some MB more each time, until there is enough: safetensors would end the process."""
    attempts = run_python(SHORT_OF_MEMORY, tmp_path / "net").split()
    assert attempts[-1] == "saved"
    assert attempts[:-1] == ["refused"] * (len(attempts) - 1)
    assert len(attempts) > 3


@pytest.mark.parametrize("name", ["plain", "with space", "tab\there"])
def test_49_a_mount_point_is_found_out_before_training(tmp_path, monkeypatch, name):
    """A file that is mounted cannot be renamed over; as the system tells it, with its octal escapes."""
    told = str(tmp_path / name).replace(" ", r"\040").replace("\t", r"\011")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 98:0 /x {told} rw - ext4 /dev/root rw\n")
    opened = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *more, **named: opened(
            mounts if path == "/proc/self/mountinfo" else path, *more, **named
        ),
    )
    X, y = np.arange(6.0)[:, None], np.arange(6.0)
    fits = Trainer(MLP((1, 2, 1)))
    with pytest.raises(OSError, match="is a mount point, which cannot be replaced"):
        fits.fit(X, y, checkpoint=tmp_path / name)
    assert fits.history is None
    assert fits.fit(X, y, 2, checkpoint=tmp_path / "other").stop_reason == "epochs"


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_49_a_bind_mount(tmp_path):
    for name in ("file", "source"):
        (tmp_path / name).write_text("old")
    mounted = subprocess.run(["mount", "--bind", tmp_path / "source", tmp_path / "file"], check=False)
    assert mounted.returncode == 0
    try:
        with pytest.raises(OSError, match="is a mount point"):
            files.check_place(tmp_path / "file")
        with pytest.raises(OSError, match="busy"):
            MLP((1, 2, 1)).save(tmp_path / "file")
    finally:
        subprocess.run(["umount", tmp_path / "file"], check=True)
    files.check_place(tmp_path / "file")


def test_49_resume_finds_out_before_it_trains(tmp_path, monkeypatch):
    X, y = np.arange(6.0)[:, None], np.arange(6.0)
    path = tmp_path / "checkpoint"

    def stop(epoch, history):
        if epoch == 3:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        Trainer(MLP((1, 2, 1))).fit(X, y, 9, checkpoint=path, checkpoint_every=1, callback=stop)
    monkeypatch.setattr(files, "_mount_points", lambda: {str(path)})
    with pytest.raises(OSError, match="is a mount point"):
        Trainer.resume(path, X, y, callback=lambda *_: pytest.fail("trained"))


def test_59_digests_and_check_sums_are_of_little_endian_bytes():
    for dtype in (np.float32, np.float64):
        for size in (10, 100_000):
            array = np.random.default_rng(1).normal(size=(size, 1)).astype(dtype)
            swapped = array.astype(array.dtype.newbyteorder())
            assert files._digest({"a": swapped}, {}) == files._digest({"a": array}, {})
            assert data._checksum(swapped) == data._checksum(array)
