"""The parts of the README and of the page docs/benchmarks.md that benchmarks write."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"


def write(part, text):
    """Replace what stands between the marks `<!-- part: begin -->` and `<!-- part: end -->`."""
    begin, end = f"<!-- {part}: begin -->\n", f"<!-- {part}: end -->\n"
    (page,) = (page for page in PAGES if begin in page.read_text(encoding="utf-8"))
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")
