"""Writing a file whole or not at all."""

import contextlib
import os


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
