"""The README and the pages of docs/: their examples run, their links lead somewhere."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastmlp
from fastmlp.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "fastmlp" / "kernels" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")


def blocks(page, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@every_page
def test_python_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "".join(blocks(page, "python"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(code, page.name, "exec"), {})


def test_examples_are_found():
    assert {page.name for page in PAGES if blocks(page, "python")} == {
        "README.md",
        "derivation.md",
        "model-files.md",
    }


def test_commands_of_the_readme(tmp_path, monkeypatch, capsys):
    """With data.csv and new.csv there."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt("data.csv", rows, delimiter=",", header="a,b,price", comments="")
    np.savetxt("new.csv", rows[:5, :2], delimiter=",", header="a,b", comments="")
    (block,) = (block for block in blocks(ROOT / "README.md", "sh") if block.startswith("fastmlp"))
    for line in block.splitlines():
        command = line.split("#")[0].split()
        assert command.pop(0) == "fastmlp"
        assert main(command) == 0, capsys.readouterr().err
    assert len(Path("predictions.csv").read_text().splitlines()) == 6


def test_cython_examples_are_those_that_are_built():
    source = (ROOT / "tests" / "integrations" / "cimport" / "fastmlp_user.pyx").read_text(encoding="utf-8")
    examples = blocks(ROOT / "docs" / "cython.md", "cython")
    assert len(examples) == 2
    assert all(example in source for example in examples)


@every_page
def test_links(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links if not link.startswith("https://")), links


def test_the_page_lists_what_the_pxd_declares():
    declared = re.findall(
        r"^cdef int (\w+)\(", Path(fastmlp.__file__).with_name("capi.pxd").read_text(), re.M
    )
    page = (ROOT / "docs" / "cython.md").read_text(encoding="utf-8")
    assert len(declared) == 4
    assert all(f"`{name}`" in page for name in declared)


def test_every_promise_names_tests_that_there_are():
    """A test is named with its file, or after another one of the same file."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    file = None
    for promise in re.split(r"\n\n|\n- ", page):
        named = re.findall(r"`(?:(test_\w+\.py)::)?(test_\w+)`", promise)
        assert named or not promise.startswith("**"), promise
        for other, name in named:
            file = other or file
            (path,) = (ROOT / "tests").rglob(file)
            source = path.read_text(encoding="utf-8")
            assert f"\ndef {name}(" in source, f"{file}::{name}"
