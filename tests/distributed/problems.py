"""Problems for a ring and for one device, as NumPy arrays, and the errors between the two."""

from typing import Any, NamedTuple

import numpy as np

import afa_core as afa

MODES = {"isotropic": 2, "diagonal": 2, "radial_tangential": 3}


class Problem(NamedTuple):
    """What varies between problems; everything else is drawn from a seed."""

    name: str
    form: str = "isotropic"
    tokens: int = 22
    causal: bool = True
    weighting: str = "StudentT"
    dof: float | str = 4.0  # or "array"
    has_temperature: bool = False
    times: str = "positions"  # or "irregular", "tied"
    masked: str = ""  # or "left", "right"
    grouped: bool = False
    key_scales: tuple[float, ...] = (1.0,)  # of as many pieces of the sequence
    dtype: str = "float64"
    correlated: bool = False  # with variances of queries


def draw_leaves(problem: Problem, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the arrays that gradients are taken in, by name."""
    rng, modes = np.random.default_rng(seed), MODES[problem.form]
    heads = (2, 1, 3) if problem.grouped else (2, 3)
    key_heads = (2, 1, 1) if problem.grouped else heads
    per_mode = (modes,) if problem.form == "diagonal" else ()
    leaves = {
        "query": rng.standard_normal((*heads, problem.tokens, 2 * modes)),
        "key": rng.standard_normal((*key_heads, problem.tokens, 2 * modes)),
        "value": rng.standard_normal((*key_heads, problem.tokens, 2 * modes)),
        "decay": rng.uniform(0.05, 0.3, (3, *per_mode)),
        "frequency": rng.standard_normal(modes),
    }
    pieces = np.array_split(np.arange(problem.tokens), len(problem.key_scales))
    for piece, scale in zip(pieces, problem.key_scales, strict=True):
        leaves["key"][..., piece, :] *= scale
    noises = ("radial", "tangential") if problem.form == "radial_tangential" else ("noise",)
    for noise in noises:
        for name in afa.Noise._fields:
            leaves[f"{noise}.{name}"] = rng.uniform(0.5, 1.5, (3, *per_mode))
    if problem.form != "diagonal":
        leaves["value_frequency"] = rng.standard_normal(modes)
    if problem.dof == "array":
        leaves["dof"] = rng.uniform(2.0, 5.0, 3)
    if problem.has_temperature:
        leaves["inverse_temperature"] = rng.uniform(0.5, 1.5, 3)
    if problem.form == "radial_tangential" and problem.masked:
        leaves["anchor"] = rng.standard_normal(leaves["value"].shape)
    if problem.correlated:
        shape = (*heads, problem.tokens, *per_mode)
        names = ("query_variance",)
        if problem.form == "radial_tangential":
            names = ("query_variance.radial", "query_variance.tangential")
        leaves |= {name: rng.uniform(0.5, 1.5, shape) for name in names}
    if problem.times != "positions":
        gaps = rng.exponential(size=problem.tokens)
        if problem.times == "tied":
            gaps = np.where(rng.uniform(size=problem.tokens) < 0.4, 0.0, gaps)
        leaves["times"] = 1e4 + np.cumsum(gaps)
    return {name: x.astype(problem.dtype) for name, x in leaves.items()}


def key_mask_of(problem: Problem) -> np.ndarray | None:
    """Return the key mask, (2, 1, tokens), whose rows end, or begin, at different tokens."""
    if not problem.masked:
        return None
    axes = (1,) * (3 if problem.grouped else 2)
    last = np.asarray([problem.tokens - 1, problem.tokens // 3]).reshape(2, *axes)
    mask = np.arange(problem.tokens) <= last
    return mask if problem.masked == "right" else mask[..., ::-1].copy()


def with_hidden_nan(problem: Problem, leaves: dict[str, Any]) -> dict[str, Any]:
    """Put NaN into hidden keys and values, and into the queries that attend to no key."""
    mask = key_mask_of(problem)
    if mask is None:
        return leaves
    names = ("key", "value", "query") if problem.masked == "left" else ("key", "value")
    return leaves | {name: np.where(mask[..., None], leaves[name], np.nan) for name in names}


def arguments_of(problem: Problem, leaves: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of attention that have an axis of tokens, and the others."""
    noises = {
        noise: afa.Noise(*(leaves[f"{noise}.{name}"] for name in afa.Noise._fields))
        for noise in ("noise", "radial", "tangential")
        if f"{noise}.process" in leaves
    }
    common = (leaves["decay"], leaves["frequency"])
    if problem.form == "diagonal":
        sde = afa.DiagonalSDE(*common, noises["noise"])
    elif problem.form == "isotropic":
        sde = afa.IsotropicSDE(*common, noises["noise"], leaves["value_frequency"])
    else:
        sde = afa.RadialTangentialSDE(
            *common, noises["radial"], noises["tangential"], leaves["value_frequency"]
        )
    weighting = getattr(afa, problem.weighting)
    dof = (leaves.get("dof", problem.dof),) if "dof" in weighting._fields else ()
    others = {"sde": sde, "weighting": weighting(*dof), "causal": problem.causal}
    if problem.correlated:
        others["correlated"] = True
    if problem.has_temperature:
        others["inverse_temperature"] = leaves["inverse_temperature"]
    tokens = {name: leaves[name] for name in ("query", "key", "value")}
    if "anchor" in leaves:
        tokens["anchor"] = leaves["anchor"]
    if "query_variance" in leaves:
        tokens["query_variance"] = leaves["query_variance"]
    elif problem.correlated:
        own = (leaves[f"query_variance.{name}"] for name in afa.RadialTangential._fields)
        tokens["query_variance"] = afa.RadialTangential(*own)
    if "times" in leaves:
        tokens |= {"query_times": leaves["times"], "key_times": leaves["times"]}
    return tokens, others


def map_tokens(function: Any, problem: Problem, tokens: dict[str, Any]) -> dict[str, Any]:
    """Apply a function of an array and its axis of tokens to all arguments that have one."""
    last = ("query_times", "key_times", "key_mask")
    last += () if problem.form == "diagonal" else ("query_variance",)
    found = {}
    for name, x in tokens.items():
        axis = -1 if name in last else -2
        both = isinstance(x, afa.RadialTangential)
        found[name] = type(x)(*(function(y, axis) for y in x)) if both else function(x, axis)
    return found


def relative_errors(
    problem: Problem, expected: dict[str, Any], found: dict[str, Any]
) -> dict[str, float]:
    """Return the largest error of each array, relative to its largest number."""
    errors = {}
    for name, exact in expected.items():
        # an unused array has no gradient in one library, and zeros in another
        one, other = (
            np.zeros(1) if x is None else np.asarray(x, "float64") for x in (exact, found[name])
        )
        scale = np.max(np.abs(one), initial=1e-30)
        error = np.max(np.abs(one - other), initial=0.0) / scale
        errors[f"{problem.name}: {name}"] = float(error) if np.isfinite(error) else 1e300
    return errors
