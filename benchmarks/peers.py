"""Compare fastmlp with its peers, side by side: ``python -m benchmarks.peers``."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import pinning, readme


def main():
    """Measure, print a table, and write the report, the pictures and, of all cases, the README's table."""
    options = _options()
    pinning.limit(options.threads)
    pinning.pin(options.threads)
    try:
        from benchmarks import comparison, picture
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: the peers are installed by `pip install --group peers`")
    cases = comparison.TOY_CASES if options.toy else comparison.CASES
    words = set(options.only)
    chosen = [case for case in cases if words <= set(str(case).replace("→", "-").split())]
    if not chosen:
        sys.exit(f"--only: no case has all the words {' '.join(options.only)}; one is “{cases[0]}”")
    report = comparison.run(chosen, options.toy)
    whole = not (options.toy or options.only)
    output = options.output or (readme.RESULTS / f"peers-{options.threads}.json" if whole else None)
    if output:
        output.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.picture:
        picture.draw(report, options.picture)
    if whole and options.threads == 1:
        picture.draw(report, readme.RESULTS / "peers.png")
        picture.draw(report, readme.RESULTS / "peers-short.png", groups=("epoch", "predict-one"))
        readme.write("peers", comparison.text(report))


def _options():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1, help="of every side (default: 1)")
    parser.add_argument("--toy", action="store_true", help="tiny cases, one round: does it run at all?")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="WORD",
        help="cases with all these words, e.g. step 3-4-1 n=256",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the report, JSON (of all cases, by default in benchmarks/results)",
    )
    parser.add_argument("--picture", type=Path, metavar="PATH", help="draw the report, as PNG or SVG")
    return parser.parse_args()


if __name__ == "__main__":
    main()
