"""Problems that rings and one device both solve, as plain NumPy arrays."""

from typing import Any, NamedTuple

import numpy as np

import afa_core as afa

MODES = {"isotropic": 2, "diagonal": 2, "radial_tangential": 3}


class Problem(NamedTuple):
    """What varies; all else is drawn from the seed."""

    name: str
    form: str = "isotropic"
    tokens: int = 22
    causal: bool = True
    weighting: str = "StudentT"
    dof: float | str = 4.0  # or "array"
    tempered: bool = False
    times: str = "places"  # or "irregular", "tied"
    masked: str = ""  # or "left", "right"
    grouped: bool = False
    scales: tuple[float, ...] = (1.0,)  # of keys, in as many pieces of the sequence
    dtype: str = "float64"


def leaves(p: Problem, seed: int = 0) -> dict[str, np.ndarray]:
    """Return all that gradients are taken of, by name."""
    rng, modes = np.random.default_rng(seed), MODES[p.form]
    heads = (2, 1, 3) if p.grouped else (2, 3)
    keys = (2, 1, 1) if p.grouped else heads
    size = (modes,) if p.form == "diagonal" else ()
    found = {
        "query": rng.standard_normal((*heads, p.tokens, 2 * modes)),
        "key": rng.standard_normal((*keys, p.tokens, 2 * modes)),
        "value": rng.standard_normal((*keys, p.tokens, 2 * modes)),
        "decay": rng.uniform(0.05, 0.3, (3, *size)),
        "frequency": rng.standard_normal(modes),
    }
    pieces = np.array_split(np.arange(p.tokens), len(p.scales))
    for piece, scale in zip(pieces, p.scales, strict=True):
        found["key"][..., piece, :] *= scale
    noises = ("radial", "tangential") if p.form == "radial_tangential" else ("noise",)
    for each in noises:
        for name in afa.Noise._fields:
            found[f"{each}.{name}"] = rng.uniform(0.5, 1.5, (3, *size))
    if p.form != "diagonal":
        found["value_frequency"] = rng.standard_normal(modes)
    if p.dof == "array":
        found["dof"] = rng.uniform(2.0, 5.0, 3)
    if p.tempered:
        found["inverse_temperature"] = rng.uniform(0.5, 1.5, 3)
    if p.form == "radial_tangential" and p.masked:
        found["anchor"] = rng.standard_normal(found["value"].shape)
    if p.times != "places":
        gaps = rng.exponential(size=p.tokens)
        gaps = np.where(rng.uniform(size=p.tokens) < 0.4, 0.0, gaps) if p.times == "tied" else gaps
        found["times"] = 1e4 + np.cumsum(gaps)
    return {name: x.astype(p.dtype) for name, x in found.items()}


def hidden(p: Problem) -> np.ndarray | None:
    """Return the key mask, (2, 1, tokens): its rows end, or begin, at different places."""
    if not p.masked:
        return None
    last = np.asarray([p.tokens - 1, p.tokens // 3]).reshape(2, *(1,) * (3 if p.grouped else 2))
    seen = np.arange(p.tokens) <= last
    return seen if p.masked == "right" else seen[..., ::-1].copy()


def spoilt(p: Problem, found: dict[str, Any]) -> dict[str, Any]:
    """Put NaN where keys are hidden, and into the queries that see none."""
    seen = hidden(p)
    if seen is None:
        return found
    names = ("key", "value", "query") if p.masked == "left" else ("key", "value")
    return found | {name: np.where(seen[..., None], found[name], np.nan) for name in names}


def arguments(p: Problem, found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of attention that have tokens, and the others."""
    noises = {
        each: afa.Noise(*(found[f"{each}.{name}"] for name in afa.Noise._fields))
        for each in ("noise", "radial", "tangential")
        if f"{each}.process" in found
    }
    common = (found["decay"], found["frequency"])
    if p.form == "diagonal":
        sde = afa.DiagonalSDE(*common, noises["noise"])
    elif p.form == "isotropic":
        sde = afa.IsotropicSDE(*common, noises["noise"], found["value_frequency"])
    else:
        sde = afa.RadialTangentialSDE(
            *common, noises["radial"], noises["tangential"], found["value_frequency"]
        )
    kind = getattr(afa, p.weighting)
    dof = found.get("dof", p.dof)
    others = {
        "sde": sde,
        "weighting": kind(dof) if kind in (afa.StudentT, afa.Rational) else kind(),
        "causal": p.causal,
    }
    if p.tempered:
        others["inverse_temperature"] = found["inverse_temperature"]
    tokens = {name: found[name] for name in ("query", "key", "value")}
    if "anchor" in found:
        tokens["anchor"] = found["anchor"]
    if "times" in found:
        tokens |= {"query_times": found["times"], "key_times": found["times"]}
    return tokens, others


def errors(p: Problem, expected: dict[str, Any], found: dict[str, Any]) -> dict[str, float]:
    """Return the errors relative to the largest number of each array."""
    told = {}
    for name, exact in expected.items():
        # what does not take part has no gradient in one library and a zero in another
        one, other = (
            np.zeros(1) if x is None else np.asarray(x, "float64") for x in (exact, found[name])
        )
        least = np.max(np.abs(one), initial=1e-30)
        error = np.max(np.abs(one - other), initial=0.0) / least
        told[f"{p.name}: {name}"] = float(error) if np.isfinite(error) else 1e300
    return told
