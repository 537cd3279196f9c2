"""The kernel builds: a table of builds and one of checks -> compiler flags. All else is in pyproject.toml."""

import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

X86_64 = sysconfig.get_platform().endswith(("x86_64", "amd64"))  # of the target: cibuildwheel cross-compiles
GNU = sys.platform != "win32"  # GCC and clang; MSVC has no vector extension and gets the portable build

BUILDS = {"baseline": []}  # SSE2 on x86-64, NEON on arm64
if X86_64 and GNU:
    # the features that cpu.h asks for; -march=x86-64-v3 would need GCC 11, and give the same code
    BUILDS["avx2"] = ["-mavx2", "-mfma", "-mbmi", "-mbmi2"]
    BUILDS["avx512"] = [
        *BUILDS["avx2"],
        *("-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl"),
        "-mprefer-vector-width=512",
    ]

# fp-contract: one multiply-add instead of two roundings. The two -fno: lets sqrt and selects become
# vector code; neither touches NaN, infinity or the order of sums. -g0: a wheel needs no debug data.
COMMON = ["-O3", "-g0", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"] if GNU else ["/O2"]

# Arguments are checked in Python, once (fastmlp/_checks.py); with cdivision // and % are C's. The directives
# stand here as Cython takes no notice of those in an included file.
DIRECTIVES = dict(
    language_level=3,
    boundscheck=False,
    wraparound=False,
    cdivision=True,
    initializedcheck=False,
    # no module keeps anything that changes; tests/faults/test_threads.py predicts and fits from many threads
    freethreading_compatible=True,
)

# What FASTMLP_CHECKS names is built in beside: (flags, directives, macros). .ci/checked makes such builds.
CHECKS = {
    "": ([], {}, []),
    # Cython's own checks, and a trap where an index leaves an array on the stack or in a struct
    "bounds": (
        ["-O2", "-fsanitize=bounds", "-fsanitize-undefined-trap-on-error"],
        dict(boundscheck=True, initializedcheck=True, cdivision=False),
        [],
    ),
    # -O1 and the lines alone: a module compiles in 28 s instead of 79
    "sanitizers": (["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], {}, []),
    "lines": (["-O1"], dict(linetrace=True), [("CYTHON_TRACE_NOGIL", "1")]),
}
CHECK = os.environ.get("FASTMLP_CHECKS", "")
check_flags, check_directives, check_macros = CHECKS[CHECK]

MODULES = os.environ.get("FASTMLP_MODULES", "")  # a pattern: builds only those whose names it is found in


def extension(name, flags=(), macros=()):
    return Extension(
        f"fastmlp.{name}",
        [f"fastmlp/{name.replace('.', '/')}.pyx"],
        include_dirs=[numpy.get_include()],
        extra_compile_args=[*COMMON, *flags, *check_flags],
        extra_link_args=check_flags,
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), *macros, *check_macros],
        depends=[f"fastmlp/kernels/{header}.h" for header in ("simd", "elementwise", "cpu", "atomics")],
    )


EXTENSIONS = [
    extension("capi"),
    extension("kernels._cpu"),
    *(
        extension(f"kernels._{build}_{real}", flags, [("FASTMLP_REAL", c_type)])
        for build, flags in BUILDS.items()
        for real, c_type in (("float32", "float"), ("float64", "double"))
    ),
]


class BuildWhatTheCompilerCan(build_ext):
    """Leaves out a build whose instructions the compiler does not know, and says so."""

    def build_extensions(self):
        """Build the extensions that are left."""
        left_out = [build for build, flags in BUILDS.items() if not self.knows(flags)]
        for build in left_out:
            print(f"fastmlp: the {build} kernels are left out, as the compiler does not take their flags")
        self.extensions[:] = [
            extension
            for extension in self.extensions
            if not any(f"kernels._{build}_" in extension.name for build in left_out)
        ]
        super().build_extensions()

    def knows(self, flags):
        """Whether simd.h compiles with the flags of a build; those that all builds share are no question."""
        if not flags:
            return True
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text('#define CYTHON_INLINE\n#include "simd.h"\nint probe(void) { return LANES; }\n')
            try:
                self.compiler.compile(
                    [str(source)],
                    output_dir=folder,
                    include_dirs=[os.path.abspath("fastmlp/kernels")],
                    macros=[("FASTMLP_REAL", "float")],
                    extra_postargs=flags,
                )
            except CompileError:
                return False
        return True


setup(
    cmdclass={"build_ext": BuildWhatTheCompilerCan},
    ext_modules=cythonize(
        [extension for extension in EXTENSIONS if re.search(MODULES, extension.name)],
        compiler_directives=DIRECTIVES | check_directives,
        force=bool(CHECK),
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
