"""Optional dependencies: what is said where one is missing, and the progress bar that one of them draws."""

import contextlib
import sys


def missing(error, what, extra):
    """Return the ImportError to raise for a ModuleNotFoundError: one line that says what to install."""
    return ImportError(f"{what} needs {error.name.split('.')[0]}: pip install 'fastmlp[{extra}]'")


def progress_bar(total, done=0, **options):
    """Return tqdm's progress bar, in a notebook that of a notebook; one that shows nothing without stderr.

    Raises ModuleNotFoundError where tqdm is not installed.
    """
    from tqdm.auto import tqdm

    if sys.stderr is None:  # of pythonw, or a service
        return contextlib.nullcontext()
    return tqdm(total=total, initial=done, unit="epoch", **options)
