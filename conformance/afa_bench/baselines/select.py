"""The baselines of a setting: those of its library, and other implementations of this one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import Any

from afa_bench.candidates import Baseline, Call, Case, Profiling, Task
from afa_bench.cases import AFA, CASES, attend
from afa_bench.inputs import transfer
from afa_bench.setting import Setting, require_choice
from afa_core._array.arrays import namespace
from afa_core.attention import explain
from afa_core.backend import Backend, load
from afa_core.model.sde import IsotropicSDE, Noise, RadialTangentialSDE


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
    return {each.name: each for each in (*native(setting.library), *OWN, *own)}


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


def unsupported(setting: Setting, names: Iterable[str]) -> dict[str, str]:
    """Return the reasons why candidates cannot run a setting, empty for those that can."""
    known: dict[str, Case | Baseline] = {AFA: CASES[setting.case]}
    known |= available(load(setting.library), setting)
    unknown = "is no baseline or implementation in this version"
    return {name: known[name].unsupported(setting) if name in known else unknown for name in names}


def _attention_only(setting: Setting) -> str:
    return "" if setting.case == "attention" else "runs attention over a sequence only"


def _other_forms_only(setting: Setting) -> str:
    if setting.form == "isotropic":
        return "is a baseline of the other forms only"
    return _attention_only(setting)


def _isotropic(task: Task) -> Call:
    """Prepare isotropic attention with the tangential noise, or the means over modes."""
    sde, setting = task.inputs.sde, task.setting._replace(form="isotropic")
    if isinstance(sde, RadialTangentialSDE):
        same = IsotropicSDE(sde.decay, sde.frequency, sde.tangential_noise)
    else:
        xp: Any = namespace(decay=sde.decay)
        decay, *noise = (xp.mean(x, axis=-1) for x in (sde.decay, *sde.noise))
        same = IsotropicSDE(decay, sde.frequency, Noise(*noise))
    return attend(task._replace(setting=setting, inputs=task.inputs._replace(sde=same)))


def _irregular_only(setting: Setting) -> str:
    return _attention_only(setting) if setting.irregular else "is a baseline of irregular times"


def _regular(task: Task) -> Call:
    """Prepare attention to the same tokens at regular times."""
    inputs = task.inputs._replace(query_times=None, key_times=None)
    return attend(task._replace(inputs=inputs))


OWN = (
    Baseline("isotropic", "this library, isotropic form", _other_forms_only, _isotropic),
    Baseline("regular", "this library, regular times", _irregular_only, _regular),
)
"""Other settings of this library as baselines."""
