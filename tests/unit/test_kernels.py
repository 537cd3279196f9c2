import inspect
import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sheet

from fastmlp import kernels, reference

ROWS = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 100, 1309]
UNITS = [1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 17, 32, 33, 64, 100]
DTYPES = ["float32", "float64"]


def pairwise(**factors):
    """Cases in which every pair of values of every two factors occurs; the same draw every time."""
    names = list(factors)
    draw = random.Random(0)
    missing = {
        ((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in factors[a] for y in factors[b]
    }
    cases = []
    while missing:
        pair = dict(min(missing, key=repr))
        candidates = [{a: pair.get(a, draw.choice(factors[a])) for a in names} for _ in range(30)]
        pairs = [set(itertools.combinations(case.items(), 2)) for case in candidates]
        best = max(range(30), key=lambda i: len(missing & pairs[i]))
        missing -= pairs[best]
        cases.append(candidates[best])
    return cases


CASES = pairwise(n=ROWS, d=UNITS, h=UNITS, m=[1, 2, 3, 10], weighted=[False, True], dtype=DTYPES)


def draw_case(n, d, h, m, weighted, dtype):
    """Small multiples of 1/4: every B is exact in float32, so no rounding moves one across the kink."""
    rng = np.random.default_rng([n, d, h, m])

    def quarters(*shape):
        return (rng.integers(-8, 9, shape) / 4).astype(dtype)

    w = rng.integers(0, 4, n).astype(dtype) if weighted else None
    if weighted:
        w[rng.integers(n)] = 2
    return quarters(n, d), quarters(n, m), quarters(d + 1, h), quarters(h + 1, m), w


def exact(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


def assert_within(found, expected, bound):
    assert np.all(np.abs(found - expected) <= bound), np.max(
        np.abs(found - expected) / np.maximum(bound, 1e-300)
    )


def test_every_pair_of_the_grid_is_drawn():
    assert len(CASES) < 400
    assert {(c["d"], c["h"]) for c in CASES} == set(itertools.product(UNITS, UNITS))
    assert {(c["n"], c["m"]) for c in CASES} == set(itertools.product(ROWS, [1, 2, 3, 10]))


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())))
def test_against_reference(build, paths, case):
    arguments = draw_case(**case)
    before = [None if a is None else a.copy() for a in arguments]
    X, Y, W1, W2, w = arguments
    bounds = sheet.error_bounds(X, Y, W1, W2, w, eps=np.finfo(case["dtype"]).eps)
    X64, Y64, V1, V2, w64 = exact(*arguments)

    E = sheet.forward(kernels, X, W1, W2)
    assert E.dtype == case["dtype"]
    assert_within(E, sheet.forward(reference, X64, V1, V2), bounds["E"])

    loss, dW1, dW2 = sheet.loss_and_gradients(kernels, X, Y, W1, W2, w)
    L, dV1, dV2 = sheet.loss_and_gradients(reference, X64, Y64, V1, V2, w64)
    assert dW1.dtype == dW2.dtype == case["dtype"]
    assert isinstance(loss, float)
    assert_within(loss, L, bounds["L"])
    assert_within(dW1, dV1, bounds["dW1"])
    assert_within(dW2, dV2, bounds["dW2"])
    for array, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_are_overwritten(build, paths, dtype):
    X, Y, W1, W2, _ = draw_case(70, 5, 19, 3, False, dtype)
    network = kernels.compiled((5, 19, 3), ("relu",), np.dtype(dtype), columns=3)
    parameters = np.concatenate([W1.ravel(), W2.ravel()])
    gradient = np.full_like(parameters, np.nan)
    loss = network.loss_and_gradients(X, Y, None, parameters, gradient, 1)
    expected_loss, *gradients = sheet.loss_and_gradients(kernels, X, Y, W1, W2)
    for found, expected in (
        (loss, expected_loss),
        (gradient, np.concatenate([dW.ravel() for dW in gradients])),
    ):
        np.testing.assert_array_equal(found, expected)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "h", "m"), [(3, 4, 1), (5, 8, 3), (4, 33, 1), (20, 50, 2)])
def test_without_an_error_all_sums_are_exactly_0(build, paths, dtype, d, h, m):
    X, _Y, W1, W2, w = draw_case(100, d, h, m, True, dtype)
    loss, dW1, dW2 = sheet.loss_and_gradients(kernels, X, sheet.forward(kernels, X, W1, W2), W1, W2, w)
    assert loss == 0
    assert not dW1.any()
    assert not dW2.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("h", [1, 5, 16, 33])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_as_in_the_reference(build, paths, dtype, h, bad):
    X, Y, W1, W2, _ = draw_case(70, 5, h, 2, False, dtype)
    X[66, 3] = bad
    with np.errstate(invalid="ignore"):
        expected = sheet.forward(reference, *exact(X, W1, W2))
    found = sheet.forward(kernels, X, W1, W2)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    if np.isnan(bad):
        assert np.isnan(found[66]).all()
        loss, dW1, dW2 = sheet.loss_and_gradients(kernels, X, Y, W1, W2)
        assert np.isnan(loss)
        assert np.isnan(dW1).all()
        assert np.isnan(dW2).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_numbers(build, paths, rng, dtype):
    n, d, h, m = 1000, 20, 50, 2
    X, Y = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(n, m)).astype(dtype)
    W1, W2 = rng.normal(size=(d + 1, h)).astype(dtype), rng.normal(size=(h + 1, m)).astype(dtype)
    bounds = sheet.error_bounds(X, Y, W1, W2, eps=np.finfo(dtype).eps)
    assert_within(sheet.forward(kernels, X, W1, W2), sheet.forward(reference, *exact(X, W1, W2)), bounds["E"])


def test_signatures_are_those_of_the_reference():
    for name in ("forward", "loss_and_gradients"):
        ours, theirs = (
            [
                (parameter.name, parameter.kind, parameter.default)
                for parameter in signature.parameters.values()
            ]
            for signature in (inspect.signature(getattr(module, name)) for module in (kernels, reference))
        )
        assert ours == theirs, name


def test_dtype_follows_the_weights():
    X, _Y, W1, W2, _ = draw_case(5, 3, 4, 1, False, "float32")
    assert sheet.forward(kernels, X.astype("float64"), W1, W2).dtype == np.float32
    assert sheet.forward(kernels, X, W1.astype("float64"), W2).dtype == np.float64
    assert sheet.forward(kernels, X.astype(int), W1.astype(int), W2.astype(int)).dtype == np.float64


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("wanted", kernels.AVAILABLE_ISAS)
def test_environment_chooses_the_build(wanted):
    done = run_python("import fastmlp; print(fastmlp.kernels.ISA)", FASTMLP_ISA=wanted)
    assert done.stdout.strip() == wanted, done.stderr


def test_fastest_usable_build_is_the_default(monkeypatch):
    assert kernels._choose(None) == kernels.AVAILABLE_ISAS[-1]
    monkeypatch.setattr(kernels, "AVAILABLE_ISAS", ("baseline",))  # as on an older CPU
    assert kernels._choose(None) == "baseline"


def test_a_build_that_is_not_compiled_in_is_passed_over():
    first = kernels.AVAILABLE_ISAS[0]
    assert kernels._available((first, "avx9")) == (first,)


def test_unusable_build_is_an_error():
    done = run_python("import fastmlp", FASTMLP_ISA="avx9")
    assert done.returncode
    assert "FASTMLP_ISA='avx9'" in done.stderr
    assert f"choose from {', '.join(kernels.AVAILABLE_ISAS)}" in done.stderr


@pytest.mark.parametrize("text", ["0", "many", "-1", "1.5", ""])
def test_bad_thread_count_in_the_environment_is_an_error(text):
    done = run_python("import fastmlp", FASTMLP_NUM_THREADS=text)
    assert done.returncode
    assert "FASTMLP_NUM_THREADS" in done.stderr


def test_source_folder_without_kernels_says_what_to_do():
    done = run_python("import sys; sys.modules['fastmlp.kernels._cpu'] = None; import fastmlp")
    assert "pip install -e ." in done.stderr


@pytest.mark.skipif(
    not Path("/sys/devices/system/cpu/cpu0/cache").is_dir(), reason="this system does not state its caches"
)
def test_the_caches_are_those_that_linux_states():
    stated = {}
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (cache / "type").read_text().strip() != "Instruction":
            size = (cache / "size").read_text().strip()
            stated[int((cache / "level").read_text())] = 1024 * int(size.removesuffix("K"))
    for found, level in zip(kernels._cpu.caches(), (1, 2), strict=True):
        assert found in (0, stated[level])


@pytest.mark.parametrize(
    ("stated", "taken"),
    [
        ((0, 0), (32 << 10, 512 << 10)),
        ((48 << 10, 2 << 20), (48 << 10, 2 << 20)),
        ((128 << 10, 16 << 20), (128 << 10, 16 << 20)),
        ((1, 2**40), (32 << 10, 512 << 10)),
    ],
)
def test_a_cache_that_no_cpu_has_is_taken_for_a_usual_one(stated, taken):
    assert kernels._caches(stated) == taken


@pytest.mark.parametrize("caches", [(1, 1), (2**53, 2**53)])
@pytest.mark.parametrize("sizes", [(3, 4, 1), (3, 9, 2), (20, 50, 50, 2)])
def test_any_caches_give_the_same_network(build, caches, sizes):
    """To rounding: the order of sums follows them."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(700, sizes[0])), rng.normal(size=(700, sizes[-1]))
    weights = [rng.normal(size=(a + 1, b)) for a, b in itertools.pairwise(sizes)]
    expected = kernels.loss_and_gradients(X, Y, weights)
    with kernels.use(caches=caches):
        found = kernels.loss_and_gradients(X, Y, weights)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-13)
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
