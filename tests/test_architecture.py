"""Who may import whom (the house's plan), read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastmlp

PACKAGE = Path(fastmlp.__file__).parent

# module: the modules of the package it may import
ALLOWED = {
    "reference": set(),
    "_checks": {"_frames"},
    "_frames": set(),
    "_extras": set(),
    "_files": set(),
    "checkpoints": {"_checks", "_files", "kernels", "network", "optimizers", "scaling", "trainer"},
    "scaling": set(),
    "datasets": set(),
    "tables": set(),
    "kernels": {"_checks", "kernels"},
    "optimizers": {"_checks"},
    # methods of MLP and History that lead to what stands on top import it when they are called
    "network": {"_checks", "_files", "export", "kernels"},
    "trainer": {
        "_checks",
        "_extras",
        "_files",
        "checkpoints",
        "kernels",
        "network",
        "optimizers",
        "plot",
        "scaling",
    },
    "_config": {"kernels"},
    "export": {"_config", "_extras", "_files"},
    "sklearn": {"_checks", "_extras", "network", "optimizers", "scaling", "trainer"},
    # pictures show the nodes of the reference; the command line times it beside the kernels
    "plot": {"_checks", "_extras", "network", "reference", "trainer"},
    "cli": {
        "_config",
        "_extras",
        "_files",
        "datasets",
        "kernels",
        "network",
        "optimizers",
        "plot",
        "reference",
        "scaling",
        "tables",
        "trainer",
    },
    "__main__": {"cli"},
    "__init__": {"_config", "datasets", "kernels", "network", "optimizers", "reference", "trainer"},
}

# what costs more than a millisecond to import, and only some functions need: they import it
HEAVY = {
    "hashlib",
    "importlib.metadata",
    "importlib.resources",
    "json",
    "numpy.random",
    "safetensors",
    "tempfile",
}


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path):
    """(top-level packages, modules of fastmlp) that a file imports, anywhere in it."""
    outside, inside = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [
                f"{node.module}.{alias.name}" if node.module == "fastmlp" else node.module
                for alias in node.names
            ]
        for name in names:
            first, *rest = name.split(".")
            if first == "fastmlp":
                inside.add(rest[0])
            else:
                outside.add(first)
    return outside, inside


def test_every_module_is_listed():
    assert {module_name(path) for path in PACKAGE.rglob("*.py")} == set(ALLOWED)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_within_the_package(path):
    _, inside = imports(path)
    assert inside <= ALLOWED[module_name(path)]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_package_needs_neither_tests_nor_benchmarks(path):
    outside, _ = imports(path)
    assert not outside & {"tests", "benchmarks", "pytest"}


def test_reference_knows_only_numpy():
    assert imports(PACKAGE / "reference.py")[0] == {"numpy"}


def test_import_loads_nothing_heavy():
    code = "import sys, numpy; before = set(sys.modules); import fastmlp; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "fastmlp.trainer" in loaded
    assert loaded & HEAVY == set()
