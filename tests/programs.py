"""The programs of tests/scripts/, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).with_name("scripts")


def output(script, *arguments, timeout=120, command=(), options=(), environment=None, cwd=None):
    """What a script prints; it must end well.

    `command` is what starts Python (strace, say), `options` are Python's.
    """
    done = subprocess.run(
        [*command, sys.executable, *options, str(SCRIPTS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | (environment or {}),
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
