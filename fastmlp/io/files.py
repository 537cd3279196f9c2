"""Files: written whole or not at all; tensors with metadata, and a digest of both."""

import contextlib
import errno
import os
import re
import stat

import numpy as np

DIGEST = "digest"


def save_tensors(path, tensors, metadata):
    """Write a safetensors file of C-contiguous arrays and strings, whole or not at all."""
    # here: a process that only trains need not load it
    from safetensors.numpy import save

    # safetensors takes two or three copies of it all, and ends the process where there is no memory for them
    np.empty(3 * sum(array.nbytes for array in tensors.values()) + 2**16, np.uint8)
    write_whole(path, save(tensors, metadata | {DIGEST: _digest(tensors, metadata)}))


def load_tensors(path, kind, versions, build):
    """Return build(tensors, metadata) for a file that `save_tensors` wrote.

    Its metadata must say ``format`` `kind` and a ``format_version`` of `versions`, the newest last. Whatever
    is wrong with the content, found here or by `build` (which need not look out for missing keys and wrong
    types), becomes a ValueError that names the path; errors of the operating system stay OSErrors.
    """
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # an absent file or a folder: the OSError that everyone knows
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise ValueError(f"its metadata have no format={kind!r}; found {sorted(metadata)}")
            if metadata.get("format_version") not in map(str, versions):
                raise ValueError(
                    f"format version {metadata.get('format_version')}, and this fastmlp reads versions up to "
                    f"{versions[-1]}; install the fastmlp that wrote it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        digest = metadata.pop(DIGEST, None)
        if digest is not None and digest != _digest(tensors, metadata):
            raise ValueError("it is damaged: its content does not have the digest it states")
        return build(tensors, metadata)
    except (
        SafetensorError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        said = str(error) if isinstance(error, (SafetensorError, ValueError)) else repr(error)
        raise ValueError(f"{os.fspath(path)}: not a {kind} file that can be loaded: {said}") from None


def little_endian(array):
    """The array with its bytes as most machines have them, so that their sums are alike everywhere."""
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)


def _digest(tensors, metadata):
    """SHA-256 of all that the file says, in hexadecimal."""
    from hashlib import sha256

    digest = sha256(repr(sorted(metadata.items())).encode())
    for name, array in sorted(tensors.items()):
        digest.update(repr((name, array.dtype.name, array.shape)).encode())
        digest.update(little_endian(array))
    return digest.hexdigest()


def write_whole(path, content):
    """Write bytes to path so that at every moment the old file or the new one is there, whole.

    The bytes go to a temporary file next to the target (the same file system, so that the rename is
    one step), are flushed to the disk, and then take the target's name. A link is followed; a device or a
    pipe stays what it is, and gets the bytes. Any error of the operating system becomes an OSError that
    names the target.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    try:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            with open(path, "wb") as file:
                file.write(content)
            return
        temporary = _temporary(target)
        try:
            descriptor = os.open(temporary, NEW_FILE, 0o666 if mode is None else 0o600)  # less the umask
            try:
                _write(descriptor, content)
            finally:
                os.close(descriptor)
            if mode is not None:
                os.chmod(temporary, mode & 0o777)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None
    _sync_folder(folder)


def check_place(path):
    """Raise an OSError that says why `write_whole` could not write to path; do nothing where it could.

    It really makes and removes a temporary file, as what a system allows is seen only by trying.
    """
    target = os.path.realpath(path)
    try:
        mode = _mode(path)
        if mode is not None and stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, "is a folder; give the name of a file")
        if mode is not None and not stat.S_ISREG(mode):
            return  # a device or a pipe
        if target in _mount_points():
            raise OSError(errno.EBUSY, "is a mount point, which cannot be replaced; mount its folder")
        temporary = _temporary(target)
        try:
            os.close(os.open(temporary, NEW_FILE, 0o600))
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    except OSError as error:
        reason = error.strerror
        if not os.path.isdir(os.path.dirname(target)):
            reason = "there is no such folder"
        elif error.errno not in (errno.EISDIR, errno.EBUSY):
            reason = f"no file can be made in its folder ({error.strerror}); choose another one"
        raise OSError(error.errno, reason, target) from None


NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def _temporary(target):
    """The name of a new file next to the target."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:50]}.{os.urandom(8).hex()}")  # names: at most 255 bytes


def _mount_points():
    """The paths that something is mounted at, where the system says (os.path.ismount sees no file)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            places = {line.split(" ")[4] for line in file}
    except OSError:
        return set()
    return {re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place) for place in places}


def _write(descriptor, content):
    """Write bytes to an empty file and flush them to the disk."""
    rest = memoryview(content)
    while rest:
        written = os.write(descriptor, rest)
        if not written:
            break
        rest = rest[written:]
    os.fsync(descriptor)
    if os.fstat(descriptor).st_size != len(content):
        raise OSError(errno.EIO, "the system has not written all of it")


def _mode(path):
    """Kind and permissions of the file that is replaced; None if there is none."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _sync_folder(folder):
    """Put the rename itself on disk, where the system can (Windows cannot)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
