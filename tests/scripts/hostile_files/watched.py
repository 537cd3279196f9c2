"""Nothing is imported, compiled, unpickled or started while files are loaded; the hook would see it."""

import pathlib
import pickle
import sys

from every_file import every, files, path, use_every_file

FORBIDDEN = {
    "import",
    "exec",
    "compile",
    "code.__new__",
    "marshal.loads",
    "marshal.load",
    "pickle.find_class",
    "ctypes.dlopen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
}
seen, watching = [], False


def watch(event, arguments):
    if watching and event in FORBIDDEN:
        seen.append((event, str(arguments)[:200]))


use_every_file("taken")  # loads what a first call loads
(path.parent / "absent").exists()
path.write_bytes(every["refused-model-format-other"])
files.used(path)
content = pickle.dumps(pathlib.Path)
sys.addaudithook(watch)
watching = True
use_every_file()
watching = False
assert not seen, seen
watching = True
eval("1 + 1")
pickle.loads(content)
import colorsys  # noqa: E402, F401

watching = False
print(*sorted({event for event, _ in seen}))
