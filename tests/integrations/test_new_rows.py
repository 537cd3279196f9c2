"""A new activation and a new objective touch their row and their branch, and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).resolve().parents[2]

# file: pairs of what stands there and what is put before it
SOFTSIGN = {
    "activations.py": [
        (
            '    "logistic": Activation(\n',
            """    "softsign": Activation(
        lambda z: z / (1 + np.abs(z)),
        lambda z: 1 / (1 + np.abs(z)) ** 2,
        "glorot",
        ("Softsign", {}),
        (("Softsign", ("z",), {}),),
        "z / (1 + fabs{f}(z))",
        largest_curvature=2.0,
    ),
""",
        )
    ],
    "kernels/activations.pxi": [
        ("    LOGISTIC\n", "    SOFTSIGN\n"),
        ('"logistic", ', '"softsign", '),
        (
            "    elif kind == LOGISTIC:\n        for i from 0 <= i < count by LANES:\n            store(z",
            """    elif kind == SOFTSIGN:
        for i from 0 <= i < count by LANES:
            store(z + i, quotient(load(z + i), broadcast(1) + magnitude(load(z + i))))
""",
        ),
        (
            "    elif kind == LOGISTIC:\n        for i from 0 <= i < count by LANES:\n            v = ",
            """    elif kind == SOFTSIGN:
        for i from 0 <= i < count by LANES:
            v = one - magnitude(load(a + i))
            store(a + i, v * v)
""",
        ),
    ],
}
LOG_COSH = {
    "objectives.py": [
        (
            "@dataclass(frozen=True)\nclass Huber(",
            '''@dataclass(frozen=True)
class LogCosh(Objective):
    """The mean over the outputs of log(cosh(z - y))."""

    name: ClassVar[str] = "log_cosh"

    def losses(self, raw, Y):
        """The loss of each row, (n,)."""
        size = np.abs(raw - Y)
        return np.mean(size + np.log1p(np.exp(-2 * size)) - np.log(2), axis=1)

    def loss_terms(self, raw, Y):
        """The sum of the absolute terms of `losses`, (n,)."""
        return np.mean(np.abs(raw - Y) + 2 * np.log(2), axis=1)

    def slopes(self, raw, Y):
        """The derivatives by the raw outputs, (n, m)."""
        return np.tanh(raw - Y) / raw.shape[1]


''',
        ),
        ("Huber, Quantile, Poisson, Gamma, BinaryLogLoss, LogLoss)\n", "LogCosh, "),
    ],
    "kernels/objectives.pxi": [
        ("    HUBER\n", "    LOG_COSH\n"),
        ('"huber", ', '"log_cosh", '),
        (
            "    elif loss == HUBER:\n",
            """    elif loss == LOG_COSH:
        size = magnitude(r)
        value[0] = size + vec_log1p(vec_exp(-size - size)) - broadcast(<real> 0.6931471805599453)
        slope[0] = vec_tanh(r)
""",
        ),
        (
            "cdef void huber(",
            """cdef void log_cosh(const Network *net, Block *b, double scale, Partial *part) noexcept nogil:
    sum_over_outputs(LOG_COSH, net, b, scale, part)

""",
        ),
        ("huber, quantile, poisson", "log_cosh, "),
    ],
}


@pytest.mark.system
def test_a_toy_activation_and_a_toy_objective(tmp_path):
    """In a copy of the source, of which the baseline kernels are built."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    shutil.copytree(ROOT / "fastmlp", source / "fastmlp", ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for additions in (SOFTSIGN, LOG_COSH):
        for name, pairs in additions.items():
            path = source / "fastmlp" / name
            text = path.read_text(encoding="utf-8")
            for there, new in pairs:
                assert text.count(there) == 1, (name, there)
                text = text.replace(there, new + there)
            path.write_text(text, encoding="utf-8")
    environment = os.environ | {"FASTMLP_MODULES": "_cpu|_baseline_"}
    installed = tmp_path / "installed"
    build = [sys.executable, "-m", "pip", "install", "--no-deps", "-q", f"--target={installed}", str(source)]
    done = subprocess.run(build, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {"PYTHONPATH": str(installed), "FASTMLP_ISA": "baseline"}
    said = programs.output("new_rows.py", installed, environment=found, cwd=tmp_path, timeout=300)
    assert said == "trained\n"
