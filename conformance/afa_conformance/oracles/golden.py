"""Golden vectors: small problems with their answers, as plain JSON for an implementation to read.

``python -m afa_conformance.oracles.golden`` writes `golden.json` beside this file, from
`double_sum` and nothing of the library. All inputs are short dyadic numbers, exact in half,
single and double precision; answers are decimal strings of forty digits, all of them right.
"""

from __future__ import annotations

import json
import random
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from afa_conformance.descriptions import FORMS, WEIGHTINGS
from afa_conformance.oracles.double_sum import OracleResult, single
from afa_conformance.problems import DrawnProblem
from afa_core import (
    DiagonalSDE,
    Gaussian,
    IsotropicSDE,
    Noise,
    RadialTangential,
    RadialTangentialSDE,
    Rational,
    StudentT,
    Uniform,
)

NAME = "golden.json"
DIGITS = 40
"""Ten fewer than are computed, so that no digit depends on the rounding of the last ones."""

ABOUT = [
    "Adaptive Filter Attention, equation (3.1) of the specification.",
    "A complex number is a pair [real, imaginary]; axes are those of the specification.",
    "sde, weighting and inverse_temperature are numbers, or lists of one number a mode.",
    "mask keeps a pair where true, and composes with causal; null stands for none.",
    "precision and weights have one entry a mode last for the diagonal form, and are pairs",
    "radial, tangential for the radial_tangential form.",
    "correlated keys are those of section 14; their mask has one row for all queries.",
]
CORRELATED = [
    ("isotropic", "rational", True),
    ("diagonal", "student", True),
    ("radial_tangential", "rational", False),
    ("isotropic", "student", False),
]
"""Form, weighting and causal order of the cases whose keys are correlated."""


class GoldenVector(NamedTuple):
    """A problem, and its answers rounded from forty digits."""

    problem: DrawnProblem
    exact: OracleResult


def read() -> dict[str, GoldenVector]:
    """Return the cases of the file by name."""
    text = resources.files("afa_conformance.oracles").joinpath(NAME).read_text(encoding="utf-8")
    return {
        each["name"]: GoldenVector(_problem(each), _exact(each["answers"], each["form"]))
        for each in json.loads(text)["cases"]
    }


def write() -> str:
    """Return the text of the file."""
    independent = product(FORMS, WEIGHTINGS, (True, False), (False,))
    every = [*independent, *((*features, True) for features in CORRELATED)]
    cases = [_case(index, *features) for index, features in enumerate(every)]
    return _layout({"about": ABOUT, "digits": DIGITS, "cases": cases})


class _Numbers:
    """Dyadic numbers from Python's generator, whose sequence no version changes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def below(self, count: int) -> int:
        return int(count * self.rng.random())

    def number(self, low: int, high: int, parts: int = 64) -> float:
        """Return a multiple of 1/parts in [low/parts, high/parts)."""
        return (low + self.below(high - low)) / parts

    def tokens(self, count: int) -> list[Any]:
        """Return `count` tokens of two complex modes."""
        return [
            [[self.number(-48, 49, 32), self.number(-48, 49, 32)] for _ in range(2)]
            for _ in range(count)
        ]

    def frequency(self) -> list[float]:
        return [self.number(-64, 65) for _ in range(2)]

    def sde(self, form: str) -> dict[str, Any]:
        """Return the parameters of a model, two of each in the diagonal form."""

        def parameter(low: int, high: int) -> Any:
            own = [self.number(low, high) for _ in range(2 if form == "diagonal" else 1)]
            return own if form == "diagonal" else own[0]

        def noise() -> dict[str, Any]:
            return {name: parameter(16, 96) for name in ("process", "measurement", "query")}

        model: dict[str, Any] = {"decay": parameter(4, 48), "frequency": self.frequency()}
        if form == "radial_tangential":
            model |= {"radial_noise": noise(), "tangential_noise": noise()}
        else:
            model["noise"] = noise()
        if form != "diagonal":
            model["value_frequency"] = self.frequency()
        return model

    def mask(self, queries: int, keys: int) -> list[list[bool]]:
        """Hide about a third of the pairs, and all keys from the first query."""
        mask = [[self.below(3) > 0 for _ in range(keys)] for _ in range(queries)]
        mask[0] = [False] * keys
        return mask


def _case(index: int, form: str, weighting: str, causal: bool, correlated: bool) -> dict[str, Any]:
    """Draw a case and solve it."""
    numbers = _Numbers(index)
    keys = 3 + index % 2
    queries = keys - index // 2 % 2
    ticks = [numbers.number(-64, 0)]
    for _ in range(keys - 1):
        ticks.append(ticks[-1] + numbers.number(8, 96))
    sde = numbers.sde(form)
    mask = numbers.mask(queries, keys) if index % 3 == 1 else None
    if correlated and mask is not None:
        mask = mask[1:2]
    order = "causal" if causal else "acausal"
    case = {
        "name": f"{form} {weighting} {order}" + (" correlated" if correlated else ""),
        "form": form,
        "query": numbers.tokens(queries),
        "key": numbers.tokens(keys),
        "value": numbers.tokens(keys),
        "anchor": numbers.tokens(queries) if form == "radial_tangential" else None,
        "query_times": [each + numbers.number(0, 8) for each in ticks[keys - queries :]],
        "key_times": ticks,
        "sde": sde,
        "weighting": weighting,
        "dof": numbers.number(64, 512) if weighting in ("student", "rational") else None,
        "inverse_temperature": numbers.number(20, 128) if index % 4 > 1 else 1.0,
        "causal": causal,
        "correlated": correlated,
        "mask": mask,
    }
    return case | {"answers": _answers(single(_problem(case)))}


def _problem(case: dict[str, Any]) -> DrawnProblem:
    """Return the problem of a case."""

    def array(x: Any) -> Any:
        return None if x is None else np.asarray(x)

    def tokens(x: Any) -> Any:
        return None if x is None else np.asarray(x) @ np.asarray([1.0, 1.0j])

    def noise(name: str) -> Noise:
        return Noise(**{each: np.asarray(x) for each, x in sde[name].items()})

    sde = case["sde"]
    decay, frequency = np.asarray(sde["decay"]), np.asarray(sde["frequency"])
    if case["form"] == "diagonal":
        model: Any = DiagonalSDE(decay, frequency, noise("noise"))
    elif case["form"] == "isotropic":
        model = IsotropicSDE(decay, frequency, noise("noise"), array(sde["value_frequency"]))
    else:
        noises = noise("radial_noise"), noise("tangential_noise")
        model = RadialTangentialSDE(decay, frequency, *noises, array(sde["value_frequency"]))
    weighting: dict[str, Any] = {
        "student": lambda: StudentT(case["dof"]),
        "rational": lambda: Rational(case["dof"]),
        "gaussian": Gaussian,
        "uniform": Uniform,
    }
    return DrawnProblem(
        query=tokens(case["query"]),
        key=tokens(case["key"]),
        value=tokens(case["value"]),
        sde=model,
        weighting=weighting[case["weighting"]](),
        inverse_temperature=case["inverse_temperature"],
        query_times=array(case["query_times"]),
        key_times=array(case["key_times"]),
        causal=case["causal"],
        correlated=case["correlated"],
        mask=array(case["mask"]),
        anchor=tokens(case["anchor"]),
    )


def _answers(exact: OracleResult) -> dict[str, Any]:
    """Write 50-digit numbers as decimal strings."""

    def written(x: Any) -> Any:
        if isinstance(x, np.ndarray | tuple):
            return [written(each) for each in x]
        if isinstance(x, mp.mpc):
            return [written(x.real), written(x.imag)]
        return mp.nstr(x, DIGITS, strip_zeros=False)

    parts = {name: getattr(exact, name) for name in ("mean", "precision", "weights")}
    return {
        name: {component: written(x) for component, x in part._asdict().items()}
        if isinstance(part, RadialTangential)
        else written(part)
        for name, part in parts.items()
    }


def _exact(answers: dict[str, Any], form: str) -> OracleResult:
    """Read them as doubles."""

    def real(x: Any) -> NDArray[Any]:
        return np.asarray(x).astype(np.float64)

    mean = real(answers["mean"]) @ np.asarray([1.0, 1.0j])
    if form != "radial_tangential":
        return OracleResult(mean, real(answers["precision"]), real(answers["weights"]))
    pairs = (
        RadialTangential(**{name: real(x) for name, x in answers[each].items()})
        for each in ("precision", "weights")
    )
    return OracleResult(mean, *pairs)


def _layout(document: dict[str, Any]) -> str:
    """Write JSON with a line for every case's entry."""
    text = json.dumps(document | {"cases": []}, ensure_ascii=False, indent=1)
    cases = ",\n".join(
        "  {\n" + ",\n".join(f'   "{name}": {json.dumps(x)}' for name, x in each.items()) + "\n  }"
        for each in document["cases"]
    )
    return text.replace('"cases": []', f'"cases": [\n{cases}\n ]') + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / NAME).write_text(write(), encoding="utf-8")
