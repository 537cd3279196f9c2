"""What the scripts here begin with: every forged file and those of the corpus, and a use of each."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))
import fuzz_files as files

path = Path(sys.argv[1])
every = files.forged() | {path.name: path.read_bytes() for path in files.CORPUS.iterdir()}


def use_every_file(only=""):
    for name, content in every.items():
        if name.startswith(only):
            path.write_bytes(content)
            found = files.used(path)
            if not name.startswith("found"):
                assert found == ([name.split("-")[1]] if name.startswith("taken") else []), (name, found)
