"""Every rival of a setting: those that need no particular library, and those of its room."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from afa_bench.candidates import Call, Instruments, Rival, Task
from afa_bench.cases import CASES, attend
from afa_bench.inputs import send
from afa_bench.setting import Setting, require_choice
from afa_core.attention import explain
from afa_core.backend import Backend
from afa_core.model.sde import IsotropicSDE, RadialTangentialSDE


def instruments(library: str) -> Instruments:
    """Return what the room of a library, such as `afa_bench.libraries.torch`, provides."""
    found: Instruments = import_module(f"afa_bench.libraries.{library}").INSTRUMENTS
    return found


def implementations(backend: Backend, setting: Setting) -> list[str]:
    """Return the names of the implementations that this library knows for a setting."""
    small = setting._replace(tokens=2, case="attention")
    inputs = send(CASES["attention"].inputs(small), small, backend)
    found = explain(*inputs[:3], inputs.sde, weighting=inputs.weighting)
    return [found.chosen, *found.others]


def available(backend: Backend, setting: Setting) -> dict[str, Rival]:
    """Return the rivals by name, whether they refuse the setting or not."""
    ours = (
        Rival(name, f"this library, implementation {name!r}", _refuse_case, _named(name))
        for name in implementations(backend, setting)
    )
    everyone = (*instruments(setting.library).rivals, ISOTROPIC, *ours)
    return {rival.name: rival for rival in everyone}


def choose(backend: Backend, setting: Setting, names: list[str]) -> dict[str, Rival]:
    """Return the named rivals; by default the library's usual ones that do not refuse.

    Raises
    ------
    CommandError
        If a rival or the implementation of the setting is unknown.
    """
    found = available(backend, setting)
    known = ("auto", *implementations(backend, setting))
    require_choice("implementation", setting.implementation, known)
    for name in names:
        require_choice("rival", name, tuple(found))
    room = instruments(setting.library).rivals
    usual = [each.name for each in room if each.usual and not each.refusal(setting)]
    return {name: found[name] for name in dict.fromkeys(names or usual)}


def _named(name: str) -> Any:
    return partial(attend, implementation=name)


def _refuse_case(setting: Setting) -> str:
    return "" if setting.case == "attention" else "runs attention over a sequence only"


def _refuse_form(setting: Setting) -> str:
    if setting.form != "radial-tangential":
        return "is a rival of the radial-tangential form only"
    return _refuse_case(setting)


def _isotropic(task: Task) -> Call:
    """Prepare isotropic attention with the tangential noise of the same model."""
    sde = task.inputs.sde
    assert isinstance(sde, RadialTangentialSDE)
    same = IsotropicSDE(sde.decay, sde.frequency, sde.tangential_noise)
    return attend(task._replace(inputs=task.inputs._replace(sde=same)))


ISOTROPIC = Rival("isotropic", "this library, isotropic form", _refuse_form, _isotropic)
