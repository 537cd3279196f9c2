"""Writing files: each system call and each allocation of a save, and of a fit, made to fail for real."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys

import numpy as np
import programs
import pytest
from safetensors import safe_open

from fastmlp import MLP, Trainer
from fastmlp.io import files
from fastmlp.training import data

KINDS = ["model", "checkpoint"]


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


# the system writes up to the limit, and then refuses: a short write, and an error at the next
FILE_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
"""


def no_room(kind, path, full, **options):
    """How a save ends for which there is no room, and that it leaves nothing but the old file."""
    setting = {"FULL": full}
    said = programs.output("saving/no_room.py", kind, path, environment=setting, timeout=300, **options)
    return said.strip()


@pytest.mark.skipif(os.name != "posix", reason="limits of Unix")
@pytest.mark.parametrize("kind", KINDS)
def test_26_a_file_that_may_not_grow(tmp_path, kind):
    path, other = tmp_path / "file", tmp_path / "other"
    assert no_room(kind, path, FILE_LIMIT) == f"OSError, 27, {os.path.realpath(path)}"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    programs.output("saving/save_once.py", kind, other, timeout=300)
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


@pytest.fixture(scope="module", params=KINDS)
def saver(request, tmp_path_factory):
    """Function of an injection: (the calls of a save, what it told or None, what strace said)."""
    folder = tmp_path_factory.mktemp(request.param)
    path, old, new = (folder / name for name in ("target/file", "old", "new"))
    trace = folder / "trace"
    programs.output("saving/save_once.py", request.param, old, timeout=300)
    server = subprocess.Popen(
        [sys.executable, str(programs.SCRIPTS / "saving" / "server.py"), request.param, str(path), str(new)],
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


FAILING = programs.SCRIPTS / "saving" / "failing_allocations.py"
CALLS = re.findall(r'^    "([\w, ]+)": ', FAILING.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def allocations(tmp_path_factory):
    """The environment in which allocations can be made to fail."""
    folder = tmp_path_factory.mktemp("allocations")
    subprocess.run(
        [
            "cc",
            "-shared",
            "-fPIC",
            "-O1",
            "-o",
            "allocations.so",
            programs.SCRIPTS / "saving" / "allocations.c",
        ],
        cwd=folder,
        check=True,
        timeout=60,
    )
    return {"LD_PRELOAD": str(folder / "allocations.so"), "PYTHONMALLOC": "malloc"}


@pytest.mark.system
@pytest.mark.parametrize("call", CALLS)
def test_24_no_memory_at_any_allocation(allocations, call):
    found = json.loads(programs.output(FAILING, call, 1, 0, environment=allocations, timeout=300))
    assert found["failed"] >= 3  # the result, a float or two of arguments, and what Python makes of a call
    assert found["errors"] >= 0.5 * found["failed"]  # a thread less is no error


@pytest.mark.system
@pytest.mark.parametrize("call", CALLS)
def test_24_no_memory_for_an_array_leaks_nothing(allocations, call):
    """For those of 1 KB and more: arrays, and what the kernels work in. Nor do calls that succeed.

    Python and NumPy keep, or even lose, some hundred bytes of theirs when a smaller one fails.
    """
    found = json.loads(programs.output(FAILING, call, 4, 1024, environment=allocations, timeout=300))
    assert found["failed"] >= (0 if call == "one row" else 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_24_no_memory_for_a_save(tmp_path):
    """Some MB more each time, until there is enough: safetensors would end the process."""
    attempts = programs.output("saving/short_of_memory.py", tmp_path / "net", timeout=300).split()
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
