"""The checks of this repository: `nox` runs all that a CPU machine can, `nox -l` lists them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"

PROJECT = nox.project.load_toml("pyproject.toml")
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
MATRIX = tomllib.loads(Path("conformance/matrix.toml").read_text(encoding="utf-8"))
"""The columns of the capability table: `-- --hypothesis-profile=nightly` makes them long."""
LIBRARIES: dict[str, Any] = MATRIX["libraries"]
CPU = [name for name in LIBRARIES if name != "cupy"]
GPU = ["torch", "jax", "cupy"]
REPORTS = Path(os.environ.get("AFA_REPORTS", ".nox/reports")).resolve()
RECORD, TABLE = "docs/reports", "docs/capabilities.md"
TIMES, PAGE = "docs/reports/bench", "docs/benchmarks.md"
WORKERS = ["-n", "auto", "--maxprocesses=4", "--dist=worksteal"]
# One thread a worker: the problems are small, and more threads would only compete. JAX compiles
# every operation anew for a new shape: what one worker or run has compiled serves the next.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(Path(".nox/jax").resolve()),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
UNOPTIMISED: dict[str, str] = MATRIX["unoptimised"]
LOOPS = "numpy", "torch"
"""Libraries whose attention on a CPU may be compiled loops."""
# Each release of torch bounds the versions of these itself.
TORCH_CHOOSES = ("torch==", "setuptools==", "sympy==")

if "PIP_FIND_LINKS" in os.environ:
    os.environ.setdefault("UV_FIND_LINKS", ",".join(os.environ["PIP_FIND_LINKS"].split()))


class Command(NamedTuple):
    """A command with its environment variables."""

    words: list[str]
    env: dict[str, str]


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


def side_by_side(session: nox.Session, commands: Iterable[Command]) -> None:
    """Run commands of one core each, as many at a time as there are cores; print them in order."""

    def run(command: Command) -> Any:
        return session.run(*command.words, env=command.env, silent=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for output in pool.map(run, commands):
            print(output)


def laws_of(session: nox.Session, name: str, column: dict[str, Any], *options: str) -> Command:
    """Return the command that runs the laws of one column of the matrix, and writes its report."""
    profile = any(each.startswith("--hypothesis-profile") for each in session.posargs)
    library = column["library"]
    unoptimised = UNOPTIMISED if column.get("unoptimised") else {}
    laws = [law for each in column.get("laws", ()) for law in MATRIX["laws"][each]]
    words = [
        "pytest",
        *["-p", "afa_conformance.plugin", "--pyargs", "afa_conformance"],
        f"--afa-backend={LIBRARIES[library].get('module', library)}",
        *(["--afa-device=gpu"] if column.get("gpu") else []),
        *column.get("options", ()),
        *(f"--afa-law={law}" for law in laws),
        *([] if profile else ["--hypothesis-profile=ci"]),
        f"--afa-report={REPORTS / name}.json",
        *options,
        *session.posargs,
    ]
    return Command(words, ENVIRONMENT | unoptimised | column.get("env", {}))


def columns_of(libraries: Collection[str], *, gpu: bool) -> dict[str, dict[str, Any]]:
    """Return the columns of the matrix with these libraries, by name."""
    return {
        name: column
        for name, column in MATRIX["columns"].items()
        if column["library"] in libraries and column.get("gpu", False) == gpu
    }


def run_columns(
    session: nox.Session,
    libraries: Collection[str],
    before: Iterable[Command] = (),
    after: Iterable[Command] = (),
) -> None:
    """Run the columns of some libraries that need no GPU, one a process.

    Loops are compiled once, beside columns of libraries and other commands that need none of them.
    """
    requirements = (each for library in libraries for each in LIBRARIES[library]["install"])
    install(session, *requirements, "--group=test")
    slowest_first = [*reversed(columns_of(libraries, gpu=False).items())]

    def laws(*, compiled: bool) -> list[Command]:
        some = (each for each in slowest_first if (each[1]["library"] in LOOPS) == compiled)
        return [laws_of(session, *each) for each in some]

    warm_up = [Command(["python", "-P", "-m", "afa_core", "warm-up"], {})]
    first = warm_up if {*libraries} & {*LOOPS} else []
    side_by_side(session, [*first, *before, *laws(compiled=False)])
    side_by_side(session, [*laws(compiled=True), *after])


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting (ruff), names of news fragments (towncrier)."""
    session.install(f"--constraint={CONSTRAINTS}", "--group=lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("towncrier", "build", "--draft", "--version=next", silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Types (mypy --strict, pyright)."""
    groups = ["--group=types", "--group=frameworks", "--group=onnx"]
    install(session, ".[bench,cli,conformance,layers,torch,jax]", *groups)
    mypy_of_users = ["mypy", "--cache-dir=.mypy_cache/typing", "tests/typing"]
    side_by_side(session, [Command(each, {}) for each in (["pyright"], ["mypy"], mypy_of_users)])


@nox.session
def repo(session: nox.Session) -> None:
    """What only this repository needs: packaging, errors, agreement of libraries, command line."""
    names = "repo", "gallery", "frameworks", "onnx", "stablehlo", "dask", "mlx", "nvrtc"
    groups = (f"--group={name}" for name in (*names, "transformers"))
    install(session, ".[bench,cli,conformance,layers,torch,jax]", *groups)
    elsewhere = "--ignore=tests/packaging"  # of what the session `wheel` builds
    session.run(
        "pytest", "tests", elsewhere, *WORKERS, *session.posargs, env=ENVIRONMENT | UNOPTIMISED
    )
    ignored = (f"--ignore-glob=*/afa_conformance/{each}/*" for each in ("laws", "fuzz"))
    options = [*ignored, "--doctest-ignore-import-errors"]
    session.run("pytest", "--doctest-modules", *options, "--pyargs", *PACKAGES)


@nox.session
def matrix(session: nox.Session) -> None:
    """The laws on all array libraries of a CPU, a column a process, and tests of what compiles."""
    loops = ["pytest", "tests/fused", "tests/test_guides.py", "-k", "fused or cpu"]
    kernels = ["pytest", "tests/kernels/triton"]
    interpreted = ENVIRONMENT | {"TRITON_INTERPRET": "1"}
    last = Command(loops, ENVIRONMENT)
    run_columns(session, CPU, [Command(kernels, interpreted)], [last])


@nox.session(default=False)
@nox.parametrize("library", [nox.param(name, id=name) for name in CPU])
def conformance(session: nox.Session, library: str) -> None:
    """The conformance laws on one array library: its dtypes, devices and modes."""
    run_columns(session, [library])


@nox.session(default=False)
@nox.parametrize("library", [nox.param(name, id=name, tags=["gpu"]) for name in GPU])
def gpu(session: nox.Session, library: str) -> None:
    """The conformance laws on a GPU, where there is one; `.ci/gpu` runs all libraries at once."""
    install(session, *LIBRARIES[library]["install"], "--group=test")
    for each in columns_of([library], gpu=True).items():
        words, environment = laws_of(session, *each, *WORKERS)
        session.run(*words, env=environment)


@nox.session(default=False)
@nox.parametrize("library", [nox.param(name, id=name) for name in ("numpy", "torch", "jax")])
def lowest(session: nox.Session, library: str) -> None:
    """The conformance laws on the lowest versions that the extras allow."""
    session.install(
        "--resolution=lowest-direct",
        "--reinstall-package=afa-core",
        *LIBRARIES[library]["install"],
        "--group=test",
    )
    words, environment = laws_of(session, f"{library} lowest", MATRIX["columns"][library], *WORKERS)
    session.run(*words, env=environment)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Change one function at a time, and record which laws notice (half an hour; `-- --fast`)."""
    install(session, ".[conformance,fast,torch]", "--group=test", "--group=mutants")
    report = REPORTS / "mutants.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    session.run("pytest", "tests/mutants")
    session.run("python", "tests/mutants", f"--report={report}", *session.posargs, env=ENVIRONMENT)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Compare random calls with the equations (`-- --calls=N --seed=S --libraries torch jax`)."""
    install(session, ".[conformance,torch,jax]", "--group=strict")
    session.run("python", "-P", "-m", "afa_conformance.fuzz", *session.posargs, env=ENVIRONMENT)


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


def check_distributions(session: nox.Session, dist: Path, environment: dict[str, str]) -> None:
    """Build the distributions into a folder, install the wheel by itself, check both."""
    session.run("uv", "build", "--quiet", "--clear", f"--out-dir={dist}", external=True)
    wheels = [f"afa-core[conformance] @ {path.as_uri()}" for path in dist.glob("*.whl")]
    # pip, since `.ci/gpu` installs by it
    needed = "pip", "--group=distributions"
    session.install("--reinstall", f"--constraint={CONSTRAINTS}", *wheels, *needed)
    session.run("twine", "check", "--strict", *map(str, dist.glob("afa_core-*")))
    environment = {"AFA_DIST": str(dist)} | environment
    session.run("pytest", "tests/packaging", *WORKERS, *session.posargs, env=environment)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the distributions, install the wheel by itself, check both."""
    check_distributions(session, (Path(session.create_tmp()) / "dist").resolve(), {})


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """The checks of `wheel`, and those that a release alone has to pass; leaves it in `dist/`."""
    check_distributions(session, Path("dist").resolve(), {"AFA_RELEASE": "1"})


@nox.session(default=False, python=nox.project.python_versions(PROJECT))
def trial(session: nox.Session) -> None:
    """The wheel with the newest libraries on one version of Python: public names, demonstration."""
    session.install("--reinstall-package=afa-core", "--upgrade", ".[cli,torch]", "--group=test")
    session.run("pytest", "tests/test_public_api.py")
    session.chdir(session.create_tmp())
    session.run("python", "-m", "afa_core", "backends")
    session.run("python", "-m", "afa_core", "demo", "--force")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings as errors."""
    frameworks = ".[cli,onnx,transformers,jax]", "--group=frameworks"
    install(session, *frameworks, "--group=docs")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "docs", "docs/_build/html")


@nox.session
def demo(session: nox.Session) -> None:
    """The README's demonstration, on every library that needs no GPU."""
    install(session, ".[cli,torch,jax]")
    session.chdir(session.create_tmp())
    session.run("python", "-m", "afa_core", "demo", "--force")
