"""Files: written whole or not at all; tensors with metadata, and a digest of both."""

import contextlib
import errno
import os

DIGEST = "digest"


def save_tensors(path, tensors, metadata):
    """Write a safetensors file of C-contiguous arrays and strings, whole or not at all."""
    # here: a process that only trains need not load it
    from safetensors.numpy import save

    write_whole(path, save(tensors, metadata | {DIGEST: _digest(tensors, metadata)}))


def load_tensors(path, kind, version, build):
    """Return build(tensors, metadata) for a file that `save_tensors` wrote.

    Its metadata must say ``format`` `kind` and ``format_version`` `version`. Whatever is wrong with the
    content, found here or by `build` (which need not look out for missing keys and wrong types), becomes a
    ValueError that names the path; what the system has against the file stays an OSError.
    """
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # an absent file or a folder: the OSError that everyone knows
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise ValueError(f"its metadata do not say format {kind!r}; found {sorted(metadata)}")
            if metadata.get("format_version") != str(version):
                raise ValueError(
                    f"format version {metadata.get('format_version')}, and this fastmlp reads version "
                    f"{version}; install the fastmlp that wrote it"
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


def _digest(tensors, metadata):
    """SHA-256 of all that the file says, in hexadecimal."""
    from hashlib import sha256

    digest = sha256(repr(sorted(metadata.items())).encode())
    for name, array in sorted(tensors.items()):
        digest.update(repr((name, str(array.dtype), array.shape)).encode())
        digest.update(array)
    return digest.hexdigest()


def write_whole(path, content):
    """Write bytes to path so that at every moment the old file or the new one is there, whole.

    The bytes go to a temporary file beside the target (the same file system, so that the rename is
    one step), are flushed to the disk, and then take the target's name. A link is followed.
    """
    import tempfile  # here: 3 ms, which a process that writes no file need not pay

    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=folder)
    except OSError as error:
        error.filename = target  # not the temporary's name
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.fstat(file.fileno()).st_size != len(content):
                raise OSError(errno.EIO, "the system has not written all of it", target)
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _mode(target):
    """The permissions of the file that is replaced, or those a new file would get."""
    try:
        return os.stat(target).st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def _sync_folder(folder):
    """Put the rename itself on disk, where the system can (Windows cannot)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
