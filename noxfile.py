"""The checks of this repository: `nox` runs all that a CPU machine can, `nox -l` lists them."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"

CONSTRAINTS = Path("constraints.txt").resolve()
PACKAGES = ["afa_core", "afa_numpy", "afa_torch", "afa_jax", "afa_cupy", "afa_conformance"]
LIBRARIES = {
    "numpy": [".[conformance]"],
    "torch": [".[conformance,torch]"],
    "jax": [".[conformance,jax]"],
    "cupy": [".[conformance,cupy-cuda13]"],
    "array_api_strict": [".[conformance]", "--group=strict"],
}
WORKERS = ["-n", "auto", "--maxprocesses=4"]
# One thread a worker: the problems are small, and more threads would only compete.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
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


def conformance(session: nox.Session, library: str) -> None:
    """Run the laws of the installed conformance suite on one array library."""
    plugin = ["-p", "afa_conformance.plugin", "--pyargs", "afa_conformance"]
    session.run(
        "pytest", *plugin, f"--afa-backend={library}", *WORKERS, *session.posargs, env=ONE_THREAD
    )


def skip_without_gpu(session: nox.Session) -> None:
    """Skip the session, and say why, where CuPy has no device."""
    ask = "from afa_cupy import BACKEND; print(BACKEND.unavailable)"
    reason = session.run("python", "-P", "-c", ask, silent=True)
    if reason and reason.strip():
        session.skip(f"CuPy cannot be used here: {reason.strip()}")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting (ruff)."""
    session.install(f"--constraint={CONSTRAINTS}", "--group=lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Types (mypy --strict, pyright)."""
    install(session, ".[cli,conformance,torch,jax]", "--group=types")
    session.run("mypy")
    session.run("mypy", "tests/typing")
    session.run("pyright")


@nox.session
def repo(session: nox.Session) -> None:
    """What only this repository needs: packaging, errors, agreement of libraries, command line."""
    install(session, ".[cli,conformance,torch,jax]", "--group=repo")
    built = "--ignore=tests/packaging/test_distributions.py"
    session.run("pytest", "tests", built, *WORKERS, *session.posargs, env=ONE_THREAD)
    laws = "--ignore-glob=*/afa_conformance/laws/*"
    session.run("pytest", "--doctest-modules", laws, "--pyargs", *PACKAGES)


@nox.session
@nox.parametrize("library", [nox.param(name, id=name) for name in LIBRARIES])
def tests(session: nox.Session, library: str) -> None:
    """The conformance laws on one array library."""
    install(session, *LIBRARIES[library], "--group=test")
    if library == "cupy":
        skip_without_gpu(session)
    conformance(session, library)


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
    conformance(session, library)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the distributions, install the wheel by itself, look at both."""
    dist = Path(session.create_tmp()) / "dist"
    session.run("uv", "build", "--quiet", "--clear", f"--out-dir={dist}", external=True)
    built = [str(path) for path in dist.glob("*.whl")]
    session.install("--reinstall", f"--constraint={CONSTRAINTS}", *built, "--group=test")
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
