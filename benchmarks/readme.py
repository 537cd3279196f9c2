"""The parts of the README that benchmarks write."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def write(part, text):
    """Replace what stands between the marks `<!-- part: begin -->` and `<!-- part: end -->`."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(f"<!-- {part}: begin -->\n")
    _, after = rest.split(f"<!-- {part}: end -->\n")
    new = f"{before}<!-- {part}: begin -->\n{text}<!-- {part}: end -->\n{after}"
    readme.write_text(new, encoding="utf-8")
