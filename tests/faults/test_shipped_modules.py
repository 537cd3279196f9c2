"""The compiled modules as they are installed: what the compiler has made of the source.

What needs binutils or qemu-user is run by `pytest -m system`.
"""

import functools
import json
import os
import platform
import re
import subprocess
import sys
from importlib.machinery import PathFinder

import numpy as np
import programs
import pytest
import sheet

import fastmlp
from fastmlp import MLP, Trainer, _checks, kernels, reference

DTYPES = ["float32", "float64"]
SUFFIXES = {"float32": "ps", "float64": "pd"}  # of the instructions on their vectors
BUILDS = kernels._available(
    ("baseline", "avx2", "avx512")
)  # compiled in, whether or not this CPU can run them
KERNELS = {
    f"_{build}_{dtype}": PathFinder.find_spec(f"fastmlp.kernels._{build}_{dtype}", kernels.__path__).origin
    for build in BUILDS
    for dtype in DTYPES
}
OTHERS = {
    "_cpu": PathFinder.find_spec("fastmlp.kernels._cpu", kernels.__path__).origin,
    "capi": PathFinder.find_spec("fastmlp.capi", fastmlp.__path__).origin,
}
MODULES = KERNELS | OTHERS
FOR_ANY_CPU = [name for name in MODULES if not name.startswith("_avx")]

x86_linux = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="is about x86-64 and Linux"
)


# OpenBLAS would take this machine's instructions for an emulated CPU's, if it were told so
WITHOUT_A_CPU = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}


def run(*command, **environment):
    done = subprocess.run(
        command, env=WITHOUT_A_CPU | environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# 13: the floating-point mode.

IMPORT_AND_USE = """
import numpy as np
import fastmlp, fastmlp.capi
from importlib import import_module
for build in fastmlp.kernels.AVAILABLE_ISAS:
    for dtype in ("float32", "float64"):
        import_module(f"fastmlp.kernels._{build}_{dtype}")
X, y = fastmlp.load_titanic()
fastmlp.Trainer(net := fastmlp.MLP((3, 4, 1)), n_threads=2).fit(X, y, epochs=2)
net.predict(X)
"""

CONTROL_WORDS = """
import ctypes, struct
def control_words():
    environment = ctypes.create_string_buffer(64)
    assert ctypes.CDLL(None).fegetenv(environment) == 0
    x87, mxcsr = struct.unpack_from("<H26xI", environment.raw)
    return x87, mxcsr & ~0x3F  # the last six are flags of what has happened, no mode
"""


@x86_linux
def test_13_importing_changes_no_bit_of_the_control_words():
    """Of the x87 unit, and of SSE (MXCSR)."""
    code = f"{CONTROL_WORDS}\nimport numpy\nprint(control_words())\n{IMPORT_AND_USE}\nprint(control_words())"
    before, after = run(sys.executable, "-c", code).splitlines()
    assert before == after
    assert before == str((0x37F, 0x1F80))  # what a process starts with: all exceptions masked, to nearest


def test_13_after_importing_numbers_are_rounded_and_subnormal_as_before():
    code = """
for dtype in (np.float32, np.float64):
    limits = np.finfo(dtype)
    for count in (1, 100):  # numbers, and NumPy's vectors
        tiny, one = np.full(count, limits.tiny, dtype), np.ones(count, dtype)
        assert (tiny * dtype(0.5) == limits.tiny / 2).all() and limits.tiny / 2 > 0  # a result
        assert (np.full(count, limits.smallest_subnormal) * dtype(2.0**30) > 0).all()  # an operand
        half = limits.eps / 2
        for sign in (dtype(-1), dtype(1)):  # to nearest, and to even half way
            assert (sign * one + sign * half == sign).all()
            assert (sign * one + sign * dtype(half * 1.5) == sign * (1 + limits.eps)).all()
            assert (sign * (one + limits.eps) + sign * half == sign * (1 + 2 * limits.eps)).all()
print("as ever")
"""
    assert run(sys.executable, "-c", IMPORT_AND_USE + code).strip() == "as ever"


@pytest.mark.parametrize("dtype", DTYPES)
def test_13_the_kernels_keep_subnormal_numbers(build, dtype):
    """As operands, as results, and on the way."""
    tiny = np.finfo(dtype).tiny
    one = np.ones((1, 1), dtype)
    for n in (1, 40):
        for h in (1, 5, 33):
            X = np.full((n, 1), tiny / 8, dtype)
            W1, W2 = np.zeros((2, h), dtype), np.zeros((h + 1, 1), dtype)
            W1[0, -1], W2[-2] = 1, 0.5
            np.testing.assert_array_equal(sheet.forward(kernels, X, W1, W2), tiny / 16 * np.ones((n, 1)))
            W1[0, -1], W2[-2] = 0.5, 2.0**30
            np.testing.assert_array_equal(sheet.forward(kernels, X, W1, W2), tiny * 2.0**26 * np.ones((n, 1)))
    _, dW1, dW2 = sheet.loss_and_gradients(
        kernels, one, tiny / 8 * one, np.zeros((2, 1), dtype), np.zeros((2, 1), dtype)
    )
    assert dW2[1, 0] == -tiny / 4
    assert not dW1.any()


# 14: no check for NaN has been optimised away.

SIZES = [(3, 4, 1), (6, 13, 1), (5, 13, 2), (7, 33, 1), (7, 33, 3)]  # tiny, narrow and wide (network.pxi)


def data_with_every_unit_active(sizes, dtype):
    d, h, m = sizes
    rng = np.random.default_rng(0)
    n = 19
    shapes = (n, d), (n, m), (d + 1, h), (h + 1, m)
    X, Y, W1, W2 = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    active = reference.graph(X, Y, W1, W2)["B"] > 0
    assert active.any(axis=0).all()
    assert not active.all()
    return {"X": X, "Y": Y, "W1": W1, "W2": W2, "w": rng.uniform(0.5, 1, n).astype(dtype)}


def unchecked_loss_and_gradients(sizes, X, Y, w, W1, W2):
    """As kernels.loss_and_gradients, which would refuse weights of NaN; the loss also alone."""
    network = kernels.compiled(sizes, ("relu",), X.dtype, columns=sizes[-1])
    parameters = np.concatenate([W1.ravel(), W2.ravel()])
    gradient = np.empty_like(parameters)
    loss = network.loss_and_gradients(X, Y, w, parameters, gradient, 1)
    assert np.isnan(network.loss_and_gradients(X, Y, w, parameters, None, 1))
    return loss, *kernels.split_parameters(gradient, sizes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", ["X", "Y", "W1", "W2", "w"])
def test_14_nan_comes_out_where_the_reference_has_it(build, dtype, sizes, name):
    """From every place of every argument, in E, L and both gradients."""
    arrays = data_with_every_unit_active(sizes, dtype)
    bad = arrays[name]
    for place in np.ndindex(bad.shape):
        value, bad[place] = bad[place], np.nan
        X, Y, W1, W2, w = arrays.values()
        found = sheet.forward(kernels, X, W1, W2), *unchecked_loss_and_gradients(sizes, X, Y, w, W1, W2)
        expected = sheet.forward(reference, X, W1, W2), *sheet.loss_and_gradients(reference, X, Y, W1, W2, w)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=str(place))
        assert np.isnan(found[1])
        net = MLP(sizes, dtype=dtype)
        net.weights[0][:], net.weights[1][:] = W1, W2
        few = net.predict(X[:2]), net.predict(X[:7])  # straight from the parameters
        for rows in few:
            np.testing.assert_array_equal(
                np.isnan(rows).reshape(-1, sizes[2]), np.isnan(found[0][: len(rows)])
            )
        bad[place] = value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_14_finite_refuses(dtype, bad):
    array = np.ones((300, 2), dtype)
    _checks.require_finite("X", array)
    for row in (0, 150, 299):
        array[row, 1] = bad
        with pytest.raises(ValueError, match=f"X: row {row} holds NaN or infinity"):
            _checks.require_finite("X", array)
        array[row, 1] = 1


def training_data(sizes, dtype):
    d, _, m = sizes
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, d)).astype(dtype), rng.normal(size=(40, m)).astype(dtype)


def diverges(net, X, Y, validation=None, epochs=3, learning_rate=1e-3, l2=0.0):
    trainer = Trainer(net, "sgd", learning_rate, batch_size=None, l2=l2)
    with pytest.warns(RuntimeWarning, match="diverged"):
        return trainer.fit(X, Y, epochs, validation_data=validation)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@np.errstate(over="ignore", invalid="ignore")
def test_14_a_loss_of_nan_is_divergence(build, dtype, sizes):
    """NaN is not larger than any limit: only isfinite sees it, at each of the three places that ask it."""
    X, Y = training_data(sizes, dtype)
    large = float(np.finfo(dtype).max)

    of_training = MLP(sizes, dtype=dtype)
    of_training.weights[1][0] = np.nan
    assert diverges(of_training, X, Y).loss == []

    of_validation = MLP(sizes, dtype=dtype)
    W1, W2 = of_validation.weights
    W1[:], W2[:] = 2, 0.1
    W2[0], W2[1] = 2, -2  # infinity less infinity
    Xv = np.full_like(X, large)
    assert np.isnan(sheet.forward(reference, Xv, W1, W2)).all()
    history = diverges(of_validation, X, Y, (Xv, Y))
    assert history.loss == history.validation_loss == []

    # a step that only the closing check sees the end of, with weights of infinity, of both signs
    of_last_step = MLP(sizes, dtype=dtype, seed=1)
    before = of_last_step.parameters.copy()
    loss, *gradients = sheet.loss_and_gradients(reference, X, Y, *of_last_step.weights)
    penalties = reference.penalty(of_last_step.weights, np.array(large, dtype))[1]
    after = [
        W - np.array(1e6, dtype) * (dW + dP)
        for W, dW, dP in zip(of_last_step.weights, gradients, penalties, strict=True)
    ]
    assert np.isnan(sheet.forward(reference, X, *after)).any()
    history = diverges(of_last_step, X, Y, epochs=1, learning_rate=1e6, l2=large)
    np.testing.assert_allclose(history.loss, [loss], rtol=1e-5)
    np.testing.assert_array_equal(of_last_step.parameters, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_14_a_loss_of_infinity_is_divergence(build, dtype):
    net = MLP((3, 4, 1), dtype=dtype)
    net.parameters[:] = 1
    X, Y = training_data(net.sizes, dtype)
    assert diverges(net, np.full_like(X, np.finfo(dtype).max / 8), Y).loss == []


# Each module on its own.


@pytest.mark.parametrize("build", kernels.AVAILABLE_ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_module_works_beside_any_other_build(build, dtype):
    code = f"""
import numpy as np
import fastmlp.kernels._{build}_{dtype} as module
from fastmlp.objectives import SquaredError
network = module.CompiledNetwork((1, 1, 1), ("relu",), SquaredError().compiled(1, 1), -1, (32768, 524288))
print(network.predict(np.full((1, 1), 2, "{dtype}"), np.ones(4, "{dtype}"), False, 1).item())
"""
    for other in kernels.AVAILABLE_ISAS:
        assert run(sys.executable, "-c", code, FASTMLP_ISA=other).strip() == "4.0"


@functools.cache
def instructions(name):
    """(bytes, mnemonic and operands) of every instruction of a module."""
    listing = run("objdump", "-d", "-w", MODULES[name])
    lines = [line.split("\t") for line in listing.splitlines() if line.count("\t") >= 2]
    return [(bytes.fromhex(line[1]), line[2].strip()) for line in lines]


LEGACY_PREFIXES = bytes.fromhex("66 67 f0 f2 f3 2e 36 3e 26 64 65")


def without_prefixes(code):
    code = code.lstrip(LEGACY_PREFIXES)
    return code[1:] if code[:1] and 0x40 <= code[0] <= 0x4F else code


# What x86-64 has got since SSE2, where it began: AVX, AVX2, FMA and BMI are VEX-encoded (C4, C5), AVX-512
# is EVEX-encoded (62), APX has a prefix (D5), and SSSE3, SSE4, AES, SHA, MOVBE, CRC32 and ADX stand in the
# opcode maps 0F38 and 0F3A. These have none of the marks; tzcnt is left out, as without BMI it is bsf, which
# compilers make use of.
UNMARKED = re.compile(
    "addsubp[sd]|h(add|sub)p[sd]|lddqu|mov(d|sh|sl)dup|fisttp.*|popcnt.*|lzcnt.*|extrq|insertq|movnts[sd]"
    "|cmpxchg16b|[ls]ahf|rdrand.*|rdseed.*|monitor.*|mwait.*|rdtscp|rdpid|clflushopt|clwb|prefetchw.*|xsave.*|x(begin|end|test)"
)


def is_newer_than_sse2(code, text):
    code = without_prefixes(code)
    return (
        code[:1] in (b"\xc4", b"\xc5", b"\x62", b"\xd5")
        or code[:2] in (b"\x0f\x38", b"\x0f\x3a")
        or any(UNMARKED.fullmatch(word) for word in text.split()[:2])  # of two, one is a prefix
        or re.search(r"%[yz]mm|%k[0-7]", text) is not None
    )


def count(name, pattern):
    return sum(re.search(pattern, text) is not None for _, text in instructions(name))


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize("name", FOR_ANY_CPU)
def test_15_modules_for_any_cpu_have_no_instruction_beyond_sse2(name):
    newer = {text for code, text in instructions(name) if is_newer_than_sse2(code, text)}
    assert newer == set()
    assert count(name, r"^ret") > 10  # it has been read, then
    if name in KERNELS:
        assert count(name, f"^mul{SUFFIXES[name[-7:]]} .*%xmm") > 100


# A CPU is asked for AVX2, FMA, BMI and BMI2, and AVX-512's F, BW, CD, DQ and VL (cpu.h). The levels that the
# compiler is told hold some more, which a virtual machine may hide from a program.
NOT_ASKED_FOR = re.compile(
    r"lzcnt|movbe|vcvtph2ps|vcvtps2ph|rdrand|rdseed|aes|vaes|v?pclmul|sha(1|256)|v?gf2p8|ad[co]x"
)
LATER_AVX512 = re.compile(
    r"vpdp|vpmadd52|vperm([it]2)?b\b|vpmultishift|vp(compress|expand)[bw]\b|vpsh[lr]d|vpopcnt|vpshufbitqmb"
    r"|v\w+bf16|vp2intersect|v4f|vp4d"
)


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize("dtype", DTYPES)
def test_15_avx2_modules_use_avx2_and_no_more(dtype):
    name = f"_avx2_{dtype}"
    assert not [text for code, text in instructions(name) if without_prefixes(code)[:1] in (b"\x62", b"\xd5")]
    for pattern in (r"%zmm|%k[0-7]", NOT_ASKED_FOR, LATER_AVX512):
        assert count(name, pattern) == 0
    assert count(name, "%ymm") > 1000
    assert count(name, f"^vfmadd.*{SUFFIXES[dtype]} .*%ymm") > 100


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize("dtype", DTYPES)
def test_15_avx512_modules_use_avx512_and_no_more(dtype):
    name = f"_avx512_{dtype}"
    evex = [code for code, _ in instructions(name) if code[:1] == b"\x62"]
    assert {code[1] & 7 for code in evex} <= {1, 2, 3}  # the maps 5 and 6 are AVX512-FP16's
    for pattern in (NOT_ASKED_FOR, LATER_AVX512):
        assert count(name, pattern) == 0
    assert count(name, "%zmm") > 1000
    assert count(name, f"^vfmadd.*{SUFFIXES[dtype]} .*%zmm") > 100


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize("name", MODULES)
def test_13_no_module_can_set_the_floating_point_mode(name):
    assert count(name, r"\b(v?ldmxcsr|fldcw|fldenv|frstor|fxrstor|xrstor)") == 0
    assert "set_fast_math" not in run("readelf", "-sW", MODULES[name])
    assert count(name, r"^ret") > 10


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize("name", MODULES)
def test_modules_need_the_c_library_alone(name):
    dynamic = run("readelf", "-dW", MODULES[name])
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert needed
    assert set(needed) <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}
    assert "TEXTREL" not in dynamic


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize("name", MODULES)
def test_no_memory_is_writable_and_executable(name):
    headers = [line.split() for line in run("readelf", "-lW", MODULES[name]).splitlines()]
    flags = {
        (words[0], "".join(words[6:-1])) for words in headers if words and words[0] in ("LOAD", "GNU_STACK")
    }
    assert ("GNU_STACK", "RW") in flags
    assert ("LOAD", "RE") in flags
    assert not [each for each in flags if "W" in each[1] and "E" in each[1]]


# 15: other CPUs.

PREDICT_AND_TRAIN = str(programs.SCRIPTS / "predict_and_train.py")


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize(
    ("cpu", "build"), [("Nehalem", "baseline"), ("Haswell", "avx2")], ids=["no AVX", "no AVX-512"]
)
def test_15_an_older_cpu_takes_the_build_for_it(cpu, build):
    """An emulated one, which has no other instructions; its results are those of this CPU with that build."""
    emulated = run("qemu-x86_64", "-cpu", cpu, sys.executable, PREDICT_AND_TRAIN)
    chosen, usable, results = json.loads(emulated)
    assert chosen == build
    assert usable == list(BUILDS[: BUILDS.index(build) + 1])
    native = json.loads(run(sys.executable, PREDICT_AND_TRAIN, FASTMLP_ISA=build))
    assert native[0] == build
    assert results == native[2]


@pytest.mark.system
@x86_linux
@pytest.mark.parametrize(("cpu", "choices"), [("Nehalem", "baseline"), ("Haswell", "baseline, avx2")])
def test_15_asking_an_older_cpu_for_avx512_is_an_error(cpu, choices):
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", cpu, sys.executable, "-c", "import fastmlp"],
        env=WITHOUT_A_CPU | {"FASTMLP_ISA": "avx512"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert (
        f"ImportError: FASTMLP_ISA='avx512': not one that this CPU can run; choose from {choices}\n"
        in done.stderr
    )
