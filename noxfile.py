"""The checks of this repository: `nox` runs all that a CPU machine can, `nox -l` lists them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"

CONSTRAINTS = Path("constraints.txt").resolve()
PACKAGES = [
    "afa_core",
    "afa_numpy",
    "afa_torch",
    "afa_jax",
    "afa_cupy",
    "afa_bench",
    "afa_conformance",
]
LIBRARIES = {
    "numpy": [".[conformance]", "--group=oracles"],
    "array_api_strict": [".[conformance]", "--group=strict"],
    "torch": [".[conformance,torch]"],
    "jax": [".[conformance,jax]"],
    "cupy": [".[conformance,cupy-cuda13]"],
    "dask": [".[conformance]", "--group=dask"],
    "mlx": [".[conformance]", "--group=mlx"],
    "ndonnx": [".[conformance]", "--group=ndonnx"],
}


class Column(NamedTuple):
    """A column of the capability table: what is tested, and by which laws if not by all."""

    name: str
    options: list[str]
    laws: tuple[str, ...] = ()
    env: dict[str, str] | None = None


# The oracle in every regime, golden vectors, the laws that catch most faults.
CORE = (
    "attention/test_double_sum.py::test_any_regime",
    "attention/test_golden.py::*",
    "attention/test_trajectory_*",
    "weights/test_calibration.py::*[4.0-*",
)
FUNCTION = (*CORE, "interface/*")
# Without the golden vectors, each of which takes several programs to compile.
FEW = (CORE[0], CORE[2])
RESULTS = ("interface/test_results.py::*",)
# What tiles can get wrong: their borders, their reference times, masks, their backward.
STREAMED = (
    *CORE,
    *(f"attention/test_sizes.py::*{law}*" for law in ("across", "more_queries", "near_key")),
    *(
        f"attention/test_{law}.py::*"
        for law in ("padding", "nonfinite_tokens", "masked_keys", "causality", "extremes")
    ),
    "attention/test_single_precision.py::*",
    "attention/test_temperature.py::*",
    "attention/test_equal_modes.py::*",
    "radial_tangential/test_anchor.py::*",
    "radial_tangential/test_isotropic.py::*",
    "weights/test_*gradients.py::*",
)
STRICTEST = {
    "ARRAY_API_STRICT_BOOLEAN_INDEXING": "False",
    "ARRAY_API_STRICT_DATA_DEPENDENT_SHAPES": "False",
    "ARRAY_API_STRICT_ENABLED_EXTENSIONS": "",
}
MATRIX = {
    "numpy": [
        Column("numpy", []),
        Column("numpy-float32", ["--afa-dtype=float32"]),
        Column("numpy-float16", ["--afa-dtype=float16"], FUNCTION),
        Column("numpy-streaming", ["--afa-implementation=streaming", "--afa-tile=2"], STREAMED),
    ],
    "array_api_strict": [
        Column("strict", ["--afa-examples=10"]),
        Column("strict-no-extras", [], FUNCTION, STRICTEST),
        Column("strict-device1", ["--afa-device=device1"], FUNCTION),
        Column("strict-no-float64", ["--afa-device=no_float64"], FUNCTION),
        Column("strict-streaming", ["--afa-implementation=streaming", "--afa-tile=2"], CORE),
        Column("strict-no-x64", ["--afa-device=no_x64"], FUNCTION),
    ],
    "torch": [
        Column("torch", []),
        Column(
            "torch-float32",
            ["--afa-dtype=float32", "--afa-examples=8"],
            (*CORE, *RESULTS, "weights/*"),
        ),
        Column("torch-bfloat16", ["--afa-dtype=bfloat16"], (*CORE, *RESULTS)),
        Column("torch-compiled", ["--afa-compile", "--afa-examples=2"], CORE[:1]),
        Column("torch-meta", ["--afa-device=meta"], FUNCTION),
        Column("torch-streaming", ["--afa-implementation=streaming", "--afa-tile=2"], STREAMED),
    ],
    "jax": [
        Column("jax", ["--afa-examples=1"]),
        Column("jax-jit", ["--afa-compile", "--afa-examples=1"], FEW),
        Column("jax-float32", ["--afa-dtype=float32", "--afa-examples=1"], FEW),
        Column("jax-float32-jit", ["--afa-dtype=float32", "--afa-compile"], CORE[:1]),
        Column(
            "jax-streaming",
            ["--afa-implementation=streaming", "--afa-tile=2", "--afa-examples=1"],
            (
                *CORE[:1],
                "attention/test_nonfinite_tokens.py::test_nan_keys*isotropic*",
                "attention/test_sizes.py::*more_queries*",
                "attention/test_sizes.py::*one more-keys*",
                "weights/test_gradients.py::*isotropic-ordinary*",
            ),
        ),
    ],
    "cupy": [
        Column("cupy", []),
        Column("cupy-float32", ["--afa-dtype=float32"]),
    ],
    "dask": [Column("dask", ["--afa-examples=1"], FUNCTION)],
    "mlx": [Column("mlx", [])],
    "ndonnx": [Column("ndonnx", [])],
}
"""The quick profile: what `ci` puts to each column; `-- --hypothesis-profile=nightly` is long."""
MODULES = {"dask": "dask.array", "mlx": "mlx.core"}
"""Libraries that are no registered backends, and the array modules they are hosted by."""
REPORTS = Path(os.environ.get("AFA_REPORTS", ".nox/reports")).resolve()
RECORD, TABLE = "docs/reports", "docs/capabilities.md"
TIMES, PAGE = "docs/reports/bench", "docs/benchmarks.md"
WORKERS = ["-n", "auto", "--maxprocesses=4"]
# One thread a worker: the problems are small, and more threads would only compete. JAX compiles
# every operation anew for a new shape: what one worker or run has compiled serves the next.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(Path(".nox/jax").resolve()),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
# Each release of torch bounds the versions of these itself.
TORCH_CHOOSES = ("torch==", "setuptools==", "sympy==")

if "PIP_FIND_LINKS" in os.environ:
    os.environ.setdefault("UV_FIND_LINKS", ",".join(os.environ["PIP_FIND_LINKS"].split()))


def constraints(session: nox.Session) -> Path:
    """The pinned versions, with `AFA_TORCH` for torch where it is set."""
    torch = os.environ.get("AFA_TORCH")
    if not torch:
        return CONSTRAINTS
    lines = CONSTRAINTS.read_text().splitlines()
    pins = [line for line in lines if not line.startswith(TORCH_CHOOSES)]
    adjusted = session.cache_dir / "constraints.txt"
    adjusted.write_text("\n".join([*pins, torch, ""]))
    return adjusted


def install(session: nox.Session, *requirements: str) -> None:
    """Install `requirements`, the project among them as a wheel newly built from this tree."""
    session.install(
        "--reinstall-package=afa-core", f"--constraint={constraints(session)}", *requirements
    )


def run_laws(session: nox.Session, library: str, column: Column) -> None:
    """Run the laws of the installed suite for one column of the matrix, and write its report."""
    profile = any(each.startswith("--hypothesis-profile") for each in session.posargs)
    session.run(
        "pytest",
        *["-p", "afa_conformance.plugin", "--pyargs", "afa_conformance"],
        f"--afa-backend={MODULES.get(library, library)}",
        *column.options,
        *(f"--afa-law={law}" for law in column.laws),
        *([] if profile else ["--hypothesis-profile=ci"]),
        f"--afa-report={REPORTS / column.name}.json",
        *WORKERS,
        *session.posargs,
        env=ENVIRONMENT | (column.env or {}),
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting (ruff)."""
    session.install(f"--constraint={CONSTRAINTS}", "--group=lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Types (mypy --strict, pyright)."""
    groups = ["--group=types", "--group=frameworks", "--group=ndonnx"]
    install(session, ".[bench,cli,conformance,layers,torch,jax]", *groups)
    session.run("mypy")
    session.run("mypy", "tests/typing")
    session.run("pyright")


@nox.session
def repo(session: nox.Session) -> None:
    """What only this repository needs: packaging, errors, agreement of libraries, command line."""
    groups = ["--group=repo", "--group=frameworks", "--group=onnx", "--group=dask"]
    install(session, ".[bench,cli,conformance,layers,torch,jax]", *groups)
    built = "--ignore=tests/packaging/test_distributions.py"
    session.run("pytest", "tests", built, *WORKERS, *session.posargs, env=ENVIRONMENT)
    laws = "--ignore-glob=*/afa_conformance/laws/*"
    session.run("pytest", "--doctest-modules", laws, "--pyargs", *PACKAGES)


@nox.session
@nox.parametrize(
    "library",
    [
        nox.param(name, id=name, tags=[name, "gpu" if name == "cupy" else "cpu"])
        for name in LIBRARIES
    ],
)
def conformance(session: nox.Session, library: str) -> None:
    """The conformance laws on one array library: its dtypes, devices and modes."""
    install(session, *LIBRARIES[library], "--group=test")
    for column in MATRIX[library]:
        run_laws(session, library, column)


@nox.session(default=False)
@nox.parametrize("library", [nox.param(name, id=name) for name in ("numpy", "torch", "jax")])
def lowest(session: nox.Session, library: str) -> None:
    """The conformance laws on the lowest versions that the extras allow."""
    session.install(
        "--resolution=lowest-direct",
        "--reinstall-package=afa-core",
        *LIBRARIES[library],
        "--group=test",
    )
    run_laws(session, library, MATRIX[library][0]._replace(name=f"{library} lowest"))


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Change one function at a time, and record which laws notice (half an hour; `-- --fast`)."""
    install(session, ".[conformance,torch]", "--group=test", "--group=mutants")
    report = REPORTS / "mutants.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    session.run("pytest", "tests/mutants")
    session.run("python", "tests/mutants", f"--report={report}", *session.posargs, env=ENVIRONMENT)


@nox.session(default=False)
def table(session: nox.Session) -> None:
    """Join the committed reports into the capability table of the documentation."""
    install(session, ".[conformance]")
    session.run("python", "-P", "-m", "afa_conformance.table", RECORD, "--output", TABLE)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure time and memory beside baselines (hours; `-- --quick`: two sizes, minutes)."""
    install(session, ".[bench,torch,jax]")
    suite = ["python", "-P", "-m", "afa_bench.suite"]
    session.run(*suite, f"--output={TIMES}", *session.posargs)
    page = ["python", "-P", "-m", "afa_bench.page"]
    session.run(*page, TIMES, f"--output={PAGE}", "--figures=docs/figures")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the distributions, install the wheel by itself, check both."""
    dist = (Path(session.create_tmp()) / "dist").resolve()
    session.run("uv", "build", "--quiet", "--clear", f"--out-dir={dist}", external=True)
    wheels = [f"afa-core[conformance] @ {path.as_uri()}" for path in dist.glob("*.whl")]
    session.install("--reinstall", f"--constraint={CONSTRAINTS}", *wheels, "--group=test")
    session.run("pytest", "tests/packaging", *session.posargs, env={"AFA_DIST": str(dist)})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings as errors."""
    install(session, ".[cli]", "--group=docs")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "docs", "docs/_build/html")


@nox.session
def demo(session: nox.Session) -> None:
    """The README's demonstration, on every library that needs no GPU."""
    install(session, ".[cli,torch,jax]")
    session.chdir(session.create_tmp())
    session.run("python", "-m", "afa_core", "demo", "--force")
