"""What is said where an optional dependency is missing."""


def missing(error, what, extra):
    """Return the ImportError to raise for a ModuleNotFoundError: one line that says what to install."""
    return ImportError(f"{what} needs {error.name.split('.')[0]}: pip install 'fastmlp[{extra}]'")
