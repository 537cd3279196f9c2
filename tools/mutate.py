"""Mutation testing: does any test fail when one operator, bound or constant of the package is another?

    python tools/mutate.py [--count N] [--seed N] [FILE ...]

Draws mutants of the files (by default of all that `TESTS` names), applies each in a copy of the tree,
rebuilds the kernels where one of their files is concerned (one module, with the checks "bounds"), and runs
the tests of it until one fails. Prints the survivors, and exits with 1 if fewer than 90 % were killed.
Needs git, a C compiler, and an environment with the package's build requirements and its tests: the one
this is started with.
"""

import argparse
import io
import os
import random
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import namedtuple
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
MODULE = "avx512_float64"  # has all of the kernels' paths; needs such a CPU
KERNELS = ["kernels", "chain", "elementwise", "capi", "network", "trainer", "shipped_modules", "faults"]
KERNELS += ["threads", "numbers"]
TESTS = {  # file or folder under fastmlp: the tests of it
    "kernels/*.pxi": KERNELS,
    "kernels/__init__.py": ["kernels", "network", "faults", "architecture"],
    "_checks.py": ["faults", "network", "trainer", "kernels", "numbers"],
    "activations.py": ["chain", "elementwise", "export"],
    "training/checkpoint.py": ["checkpoints", "hostile_files"],
    "cli.py": ["cli"],
    "io/*.py": ["network", "saving", "hostile_files", "export", "deep"],
    "network.py": ["network", "deep", "faults", "hostile_files"],
    "objectives.py": ["objectives", "chain"],
    "optimizers.py": ["trainer"],
    "reference/*.py": ["reference", "chain", "kernels", "trainer"],
    "scaling.py": ["scaling", "trainer", "numbers"],
    "schedules.py": ["schedules"],
    "sklearn/*.py": ["sklearn", "classifier"],
    "tables.py": ["tables", "cli"],
    "training/*.py": ["trainer", "signals", "checkpoints", "faults", "sklearn"],
}
SWAPS = {
    "+": "-",
    "-": "+",
    "*": "+",
    "/": "*",
    "//": "*",
    "%": "//",
    "**": "*",
    "@": "-",
    "+=": "-=",
    "-=": "+=",
    "*=": "+=",
    "//=": "*=",
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "&": "|",
    "|": "&",
    "and": "or",
    "or": "and",
    "not": "",
    "True": "False",
    "False": "True",
    "min": "max",
    "max": "min",
    "break": "continue",
    "continue": "break",
}
# Declarations, assertions, and a 0 for what fails with -1: a change is the compiler's error, or says nothing
DECLARED = re.compile(
    r"^ *(cimport|import|from|include|ctypedef|def) |except.*nogil:|^ *cdef [^=(]*$|\| None"
    r"|strict=True|frozen=True|^ *return 0$"
)
# Sizes and limits that change how fast the result comes, not what it is
SPEED_ONLY = re.compile(
    r"^ *(cdef double )?(MAX_PARTIALS|CHUNKS_PER_PASS|REDUCTION_SLICE|FLOPS_BETWEEN_SIGNAL_CHECKS"
    r"|MIN_CHUNK_FLOPS|MIN_THREADED_FLOPS|MAX_UNPACKED_ROWS|MAX_ROW_BY_ROW|STACK_SCRATCH|THREADS|SPINS|TINY"
    r"|TINY_BLOCK|AHEAD|CLOSING_ROWS|SHUFFLED_AT_ONCE|DIVERGENCE_FACTOR|EPOCHS_AT_ONCE) = "
    r"|return (max\(\d+|6\.0)|(rows|units)_cost|flops|chunk = max\(|min\(chunk, rows\)|prefetch\("
    r"|check_signals\("
)
SETTINGS = {"PYTHONDONTWRITEBYTECODE": "1", "MALLOC_PERTURB_": "128"}  # .ci/checked says why
LIMIT = 300  # seconds; a mutant that runs for ever is a dead one

Mutant = namedtuple("Mutant", "path line column old new")


def mutants_of(path):
    """All mutants of a file."""
    text = path.read_text(encoding="utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    found = []
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        new = swapped(path.suffix, before, token, after)
        if new is not None and not (DECLARED.search(token.line) or SPEED_ONLY.search(token.line)):
            found.append(Mutant(path.relative_to(TREE), *token.start, token.string, new))
    return found


def swapped(suffix, before, token, after):
    """What to put in a token's place, or None."""
    if token.type == tokenize.NUMBER:
        return f"({token.string} + 1)"
    # without a space on both sides these are a pointer, an address or a cast
    around = token.line[token.start[1] - 1 : token.start[1]] + token.line[token.end[1] : token.end[1] + 1]
    typed = suffix == ".pxi" and token.string in ("*", "&", "<", ">") and around != "  "
    unary = token.string in "+-*&" and (before.type == tokenize.OP and before.string not in ")]")
    if typed or unary or (token.string == "*" and after.string == ","):
        return None
    return SWAPS.get(token.string)


def apply(tree, mutant):
    """Put a mutant in a copy of the tree; return the text that was there."""
    path = tree / mutant.path
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    line = lines[mutant.line - 1]
    end = mutant.column + len(mutant.old)
    lines[mutant.line - 1] = line[: mutant.column] + mutant.new + line[end:]
    path.write_text("".join(lines), encoding="utf-8")
    return text


def succeeds(tree, *command, **environment):
    """Whether a command does, in the copy and within the limit."""
    try:
        return not subprocess.run(
            [sys.executable, *command],
            cwd=tree,
            env=os.environ | SETTINGS | {"PYTHONPATH": str(tree)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT,
        ).returncode
    except subprocess.TimeoutExpired:
        return False


def survives(tree, mutant, tests):
    """Whether a mutant builds and no test fails."""
    text = apply(tree, mutant)
    try:
        return build(tree, mutant) and passes(tree, mutant, tests)
    finally:
        (tree / mutant.path).write_text(text, encoding="utf-8")


def build(tree, mutant):
    """Compile what the mutant is in; an error of the compiler kills it, too."""
    if mutant.path.suffix != ".pxi":
        return True
    return succeeds(
        tree, "setup.py", "build_ext", "--inplace", "--force", FASTMLP_MODULES=MODULE, FASTMLP_CHECKS="bounds"
    )


def passes(tree, mutant, tests):
    """Whether no test fails, nor an example of the file's docstrings."""
    kernels = mutant.path.suffix == ".pxi"
    chosen = (
        ["-k", "not avx2 and not baseline and not float32 and not test_03"] if kernels else [str(mutant.path)]
    )
    files = [str(path) for name in tests for path in Path(tree, "tests").rglob(f"test_{name}.py")]
    quiet = ["-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider"]
    return succeeds(tree, "-m", "pytest", *quiet, *files, *chosen)


def chosen_files(names):
    """(file, its tests) for the files named, or for all."""
    for pattern, tests in TESTS.items():
        for path in sorted((TREE / "fastmlp").glob(pattern)):
            if path.name == "peak.pxi":  # the benchmarks'
                continue
            if not names or str(path.relative_to(TREE)) in names:
                yield path, tests


def main():
    """Draw, test and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--count", type=int, default=100, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    options = parser.parse_args()
    drawn = [(mutant, tests) for path, tests in chosen_files(options.files) for mutant in mutants_of(path)]
    total = len(drawn)
    random.Random(options.seed).shuffle(drawn)
    drawn, survivors = drawn[: options.count], 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        subprocess.run([TREE / ".ci" / "copy", tree], check=True)
        if not succeeds(tree, "setup.py", "build_ext", "--inplace"):
            sys.exit("the package does not build")
        for i, (mutant, tests) in enumerate(drawn, 1):
            alive = survives(tree, mutant, tests)
            survivors += alive
            line = (TREE / mutant.path).read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()
            word = "SURVIVED" if alive else "killed"
            print(
                f"{i:4} {word:8} {mutant.path}:{mutant.line} {mutant.old!r} -> {mutant.new!r}: {line}",
                flush=True,
            )
    killed = len(drawn) - survivors
    print(f"{killed} of {len(drawn)} mutants killed ({killed / len(drawn):.1%}), drawn from {total}")
    sys.exit(killed < 0.9 * len(drawn))


if __name__ == "__main__":
    main()
