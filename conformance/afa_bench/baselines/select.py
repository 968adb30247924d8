"""The baselines of a setting: those of its library, and other implementations of this one."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from afa_bench.candidates import Baseline, Call, Profiling, Task
from afa_bench.cases import CASES, attend
from afa_bench.inputs import transfer
from afa_bench.setting import Setting, require_choice
from afa_core.attention import explain
from afa_core.backend import Backend
from afa_core.model.sde import IsotropicSDE, RadialTangentialSDE


def profiling(library: str) -> Profiling:
    """Return how a library is measured."""
    found: Profiling = import_module(f"afa_bench.libraries.{library}").PROFILING
    return found


def native(library: str) -> tuple[Baseline, ...]:
    """Return the baselines that are written for a library."""
    found: tuple[Baseline, ...] = import_module(f"afa_bench.libraries.{library}").BASELINES
    return found


def implementations(backend: Backend, setting: Setting) -> list[str]:
    """Return the names of all implementations of attention for a setting."""
    small = setting._replace(tokens=2, case="attention")
    inputs = transfer(CASES["attention"].inputs(small), small, backend)
    found = explain(*inputs[:3], inputs.sde, weighting=inputs.weighting)
    return [found.chosen, *found.others]


def available(backend: Backend, setting: Setting) -> dict[str, Baseline]:
    """Return all baselines by name, including those that do not support the setting."""
    own = (
        Baseline(
            name,
            f"this library, implementation {name!r}",
            _attention_only,
            partial(attend, implementation=name),
        )
        for name in implementations(backend, setting)
    )
    return {each.name: each for each in (*native(setting.library), ISOTROPIC, *own)}


def choose(backend: Backend, setting: Setting, names: list[str]) -> dict[str, Baseline]:
    """Return the named baselines; by default those of the library that support the setting.

    Raises
    ------
    CommandError
        If a baseline or the implementation of the setting is unknown.
    """
    found = available(backend, setting)
    known = ("auto", *implementations(backend, setting))
    require_choice("implementation", setting.implementation, known)
    for name in names:
        require_choice("baseline", name, tuple(found))
    default = [
        each.name
        for each in native(setting.library)
        if each.default and not each.unsupported(setting)
    ]
    return {name: found[name] for name in dict.fromkeys(names or default)}


def _attention_only(setting: Setting) -> str:
    return "" if setting.case == "attention" else "runs attention over a sequence only"


def _radial_tangential_only(setting: Setting) -> str:
    if setting.form != "radial-tangential":
        return "is a baseline of the radial-tangential form only"
    return _attention_only(setting)


def _isotropic(task: Task) -> Call:
    """Prepare isotropic attention with the tangential noise of the same model."""
    sde = task.inputs.sde
    assert isinstance(sde, RadialTangentialSDE)
    same = IsotropicSDE(sde.decay, sde.frequency, sde.tangential_noise)
    return attend(task._replace(inputs=task.inputs._replace(sde=same)))


ISOTROPIC = Baseline(
    "isotropic", "this library, isotropic form", _radial_tangential_only, _isotropic
)
