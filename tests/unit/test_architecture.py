"""Who may import whom, read from the source."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import fastmlp

PACKAGE = Path(fastmlp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

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

# A module, and what nothing that is named beside it may import. The specification is for tests, pictures and
# the command line, which times it; kernels know nothing above them, checkpoints no Trainer.
MAY_NOT = {
    "reference": {"network", "training", "kernels", "optimizers", "scaling", "io"},
    "network": {"kernels", "_checks", "activations", "objectives", "optimizers", "scaling", "schedules"},
    "training": {"kernels", "_checks", "activations", "objectives", "network", "io", "scaling"},
    "sklearn": {"kernels", "network", "training", "io", "reference"},
}


def module_name(path):
    parts = ("fastmlp", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(path, anywhere):
    """The names that a file imports: anywhere in it, or when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if anywhere else at_import(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_import(node):
    """The statements below a node that run when the file is imported; types alone do not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from at_import(child)


def within(path, anywhere):
    """The modules of the package that a file imports."""
    found = set()
    for name in imported(path, anywhere):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name and name != "fastmlp":
            found.add(name)
    return found - {module_name(path)}


def test_imports_go_round_in_no_circle():
    graph = {name: within(path, anywhere=False) for name, path in MODULES.items()}
    graph["fastmlp"] = set()  # whose __init__ collects what users take from it
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("used", sorted(MAY_NOT))
def test_layers(used):
    for name, path in MODULES.items():
        layer = name.split(".")[1] if "." in name else ""
        if layer in MAY_NOT[used]:
            uses = {other.split(".")[1] for other in within(path, anywhere=False)}
            assert used not in uses, f"{name} imports {used}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_package_needs_neither_tests_nor_benchmarks(path):
    outside = {name.split(".")[0] for name in imported(path, anywhere=True)}
    assert not outside & {"tests", "benchmarks", "tools", "pytest"}


def test_what_trains_and_predicts_does_not_import_the_reference():
    for name, path in MODULES.items():
        if not name.startswith(("fastmlp.reference", "fastmlp.plot", "fastmlp.cli")) and name != "fastmlp":
            assert not any(other.startswith("fastmlp.reference") for other in within(path, anywhere=True)), (
                name
            )


def test_checkpoints_know_no_trainer():
    path = MODULES["fastmlp.training.checkpoint"]
    assert "fastmlp.training.trainer" not in within(path, anywhere=True)


def test_import_loads_nothing_heavy():
    code = "import sys, numpy; before = set(sys.modules); import fastmlp; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "fastmlp.training.trainer" in loaded
    assert loaded & HEAVY == set()
