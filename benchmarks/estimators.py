"""`fastmlp.sklearn.MLPRegressor` beside scikit-learn's: scores and times of `fit`.

``python -m benchmarks.estimators`` prints the table and writes it into the README; 4 minutes.
"""

if __name__ == "__main__":
    from benchmarks import pinning

    pinning.limit(1)
    pinning.pin(1)

import argparse
import math
import time
import warnings
from datetime import date

import cpuinfo
import numpy as np
import sklearn
import sklearn.neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_linnerud, make_friedman1, make_friedman2, make_friedman3
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp.sklearn
from benchmarks import readme
from fastmlp.cli import readable

DATA = {
    "Titanic": fastmlp.load_titanic,
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "Friedman 1": lambda: make_friedman1(500, noise=1.0, random_state=0),
    "Friedman 2": lambda: make_friedman2(500, noise=100.0, random_state=0),
    "Friedman 3": lambda: make_friedman3(500, noise=0.1, random_state=0),
    "linnerud": lambda: load_linnerud(return_X_y=True),
}
CONFIGURATIONS = {
    "defaults": {},
    "hidden_layer_sizes=(4,), batch_size=32": {"hidden_layer_sizes": (4,), "batch_size": 32},
}
OURS, THEIRS = fastmlp.sklearn.MLPRegressor, sklearn.neural_network.MLPRegressor


def main():
    """Compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toy", action="store_true", help="2 seeds, 1 round, nothing written")
    toy = parser.parse_args().toy
    text = table(run(seeds=2 if toy else 10, rounds=1 if toy else 7))
    print(text)
    if not toy:
        readme.write("estimators", text)


def run(seeds, rounds):
    """For each configuration and data set: scores (2, seeds) and seconds (2,), theirs and ours."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", UserWarning)  # a batch is larger than linnerud
    found = {}
    for title, parameters in CONFIGURATIONS.items():
        for name, load in DATA.items():
            X, y = load()
            scores = [
                [score(kind(random_state=seed, **parameters), X, y, seed) for seed in range(seeds)]
                for kind in (THEIRS, OURS)
            ]
            found[title, name] = np.array(scores), seconds_of_fit(parameters, X, y, rounds)
            print(title, name, _cells(*found[title, name]), flush=True)
    return found


def score(model, X, y, seed):
    """The mean R² over 5 folds, with features and targets standardised."""
    model = TransformedTargetRegressor(make_pipeline(StandardScaler(), model), transformer=StandardScaler())
    return cross_val_score(model, X, y, cv=KFold(5, shuffle=True, random_state=seed)).mean()


def seconds_of_fit(parameters, X, y, rounds):
    """The median seconds of a fit on all rows, theirs and ours, in turn; a round is a seed."""
    X = StandardScaler().fit_transform(X)
    y = StandardScaler().fit_transform(y.reshape(len(y), -1)).reshape(y.shape)
    times = np.empty((rounds, 2))
    for seed in range(rounds):
        for side, kind in enumerate((THEIRS, OURS)):
            model = kind(random_state=seed, **parameters)
            start = time.perf_counter()
            model.fit(X, y)
            times[seed, side] = time.perf_counter() - start
    return np.median(times, axis=0)


def table(found):
    """The README's text."""
    lines = [
        f"Measured on {date.today()}, {cpuinfo.get_cpu_info().get('brand_raw', 'unknown')}, one thread; "
        f"scikit-learn {sklearn.__version__}.",
        "",
    ]
    for title in CONFIGURATIONS:
        lines += [
            f"**{title}**",
            "",
            "| data | R², scikit-learn | R², fastmlp | fit, scikit-learn | fit, fastmlp | ratio |",
            "|---|---|---|---|---|---|",
        ]
        ratios = []
        for name in DATA:
            scores, seconds = found[title, name]
            lines.append(f"| {name} | {_cells(scores, seconds)} |")
            ratios.append(seconds[0] / seconds[1])
        mean = math.exp(np.mean(np.log(ratios)))
        lines += [f"| geometric mean | | | | | {mean:.3g}× |", ""]
    return "\n".join(lines)


def _cells(scores, seconds):
    cells = [f"{of.mean():.3f} ± {of.std(ddof=1):.3f}" for of in scores]
    return " | ".join([*cells, *map(readable, seconds), f"{seconds[0] / seconds[1]:.3g}×"])


if __name__ == "__main__":
    main()
