"""The settings of a layer, which fix its parameters: sizes, form and optional parts."""

from __future__ import annotations

import sys
from typing import Any, Literal, NamedTuple, get_args

from afa_core._array.arrays import is_count, is_number
from afa_core._array.pairs import Layout
from afa_core._checks.evaluation import check_tolerance

Form = Literal["isotropic", "diagonal", "radial_tangential"]
Weight = Literal["student_t", "gaussian", "rational", "uniform"]
Damping = Literal["free", "coupled"]
Constraint = Literal["softplus", "absolute"]
Output = Literal["estimate", "innovation"]

PROJECTED = ("query", "key", "value")
FIXED = ("frequency", "dof", "inverse_temperature")
SIZES = (
    *("features", "heads", "modes", "value_modes"),
    *("kv_heads", "key_features", "value_features"),  # or None
)
CHOICES: dict[str, Any] = {
    "form": Form,
    "weighting": Weight,
    "layout": Layout,
    "damping": Damping,
    "constraint": Constraint,
    "output": Output,
}


class Settings(NamedTuple):
    """The configuration of a layer: everything except the values of its parameters.

    Parameters
    ----------
    features : int
        Channels of the input and output tokens.
    heads : int
    modes : int
        Complex modes d of queries and keys in each head.
    value_modes : int
        Complex modes d_v of values in each head; `modes` in the diagonal form.
    form : {"isotropic", "diagonal", "radial_tangential"}
    weighting : {"student_t", "gaussian", "rational", "uniform"}
    correlated : bool
        Whether keys are weighted by their influence on the exact estimate, as in `attention`.
        Masks must then be the same for all queries, and the start is one of gains, see `Start`.
    tolerance : float or None
        Share of the weight of a row that far correlated keys may have to be left out, as in
        `attention`: None for rounding, 0 to visit every key. None without `correlated`.
    bias : bool
        Whether projections add a bias.
    layout : {"interleaved", "halves"}
        How the rows of projections pair real and imaginary parts within a head.
    value_rotation : bool
        Whether values rotate at the frequencies of the keys, which requires as many modes.
        If False they do not rotate.
    damping : {"free", "coupled"}
        Whether decays are parameters, or proportional to frequencies by one parameter b per head:
        μ = b ω_max, in the diagonal form μ_k = b |ω_k|, so that a period decays by e^{−2πb}.
    constraint : {"softplus", "absolute"}
        The map from an unconstrained parameter to a positive number. |x| has slope 1 near zero,
        where softplus is flat: it suits layers that start in the rotary limit.
    normalised : tuple of {"query", "key", "value"}
        Which projections are divided by their root mean square |z| over modes, and multiplied by
        a gain per mode.
    sphere : bool
        Whether keys are extended to a common length R, a parameter, by a mode √(R² − ‖k‖²) that
        is zero in queries: Gaussian weights without decay then depend only on the directions of
        keys. Longer keys are unchanged. Not in the diagonal form, whose values share modes.
    gated : bool
        Whether the estimate is blended with the token's own value by its precision:
        g x̂ + (1 − g) v, g = p/(p + p₀).
    output : {"estimate", "innovation"}
        Whether x̂ or x̂ − v is projected to the outputs.
    horizon : float
        Time by which the estimate is predicted ahead of its query, ≥ 0.
    fixed : tuple of str
        Parameters that are not trained: names of the layer's parameters, without ``raw_``. Nor are
        those without effect, such as the projections of queries and keys in ``"uniform"`` weights.
    kv_heads : int or None
        Heads of keys and values, which divide `heads`: each is shared by ``heads // kv_heads``
        consecutive heads of queries, every one with its own dynamics and noise. None is `heads`.
    key_features, value_features : int or None
        Channels of the tokens that keys and values are projected from; None is `features`.

    References
    ----------
    Spec §4–§6 for the forms, §10 for the outputs, §12 for the coupled damping, §14 for correlated
    keys.
    """

    features: int
    heads: int
    modes: int
    value_modes: int
    form: Form = "isotropic"
    weighting: Weight = "student_t"
    correlated: bool = False
    tolerance: float | None = None
    bias: bool = True
    layout: Layout = "interleaved"
    value_rotation: bool = True
    damping: Damping = "free"
    constraint: Constraint = "softplus"
    normalised: tuple[str, ...] = ()
    sphere: bool = False
    gated: bool = False
    output: Output = "estimate"
    horizon: float = 0.0
    fixed: tuple[str, ...] = FIXED
    kv_heads: int | None = None
    key_features: int | None = None
    value_features: int | None = None

    def heads_of(self, name: str) -> int:
        """Return the number of heads of ``"query"``, ``"key"`` or ``"value"``."""
        return self.heads if name == "query" else self.kv_heads or self.heads

    def features_of(self, name: str) -> int:
        """Return the channels of the tokens ``"query"``, ``"key"`` or ``"value"``."""
        own = {"key": self.key_features, "value": self.value_features}
        return own.get(name) or self.features

    @property
    def uses_own_value(self) -> bool:
        """Whether the output depends on the value of the query's own token."""
        return self.form == "radial_tangential" or self.gated or self.output == "innovation"

    def validate(self) -> None:
        """Raise TypeError or ValueError, naming the first setting that is invalid."""
        for name in SIZES:
            x, optional = getattr(self, name), name in self._field_defaults
            if not is_count(x) and not (optional and x is None):
                _refuse(name, "a positive integer" + " or None" * optional, x)
            if x is not None and x > sys.maxsize:
                _refuse(name, f"at most {sys.maxsize}", x)
        for name, kind in CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                _refuse(name, "one of " + ", ".join(map(repr, get_args(kind))), getattr(self, name))
        for name in ("correlated", "bias", "value_rotation", "sphere", "gated"):
            if not isinstance(getattr(self, name), bool):
                _refuse(name, "True or False", getattr(self, name))
        check_tolerance(self.tolerance, correlated=self.correlated)
        if not is_number(self.horizon) or not 0.0 <= self.horizon <= sys.float_info.max:
            _refuse("horizon", "a finite number ≥ 0", self.horizon)
        for name, accepted in (("normalised", PROJECTED), ("fixed", None)):
            names = getattr(self, name)
            known = isinstance(names, tuple) and all(isinstance(each, str) for each in names)
            if not known or (accepted and not set(names) <= set(accepted)):
                _refuse(name, f"a tuple of {accepted or 'names of parameters'}", names)
        self._validate_together()

    def _validate_together(self) -> None:
        shared = self.form == "diagonal" or self.value_rotation
        if shared and self.value_modes != self.modes:
            why = "the diagonal form" if self.form == "diagonal" else "`value_rotation`"
            _refuse("value_modes", f"`modes` ({self.modes}), as {why} requires", self.value_modes)
        if self.form == "diagonal" and not self.value_rotation:
            _refuse("value_rotation", "True in the diagonal form", self.value_rotation)
        if self.form == "diagonal" and self.sphere:
            _refuse("sphere", "False in the diagonal form", self.sphere)
        if self.heads % self.heads_of("key"):
            _refuse("kv_heads", f"a divisor of `heads` ({self.heads})", self.kv_heads)
        if self.uses_own_value and self.features_of("value") != self.features:
            why = f"`features` ({self.features}) where a query token has a value of its own"
            _refuse("value_features", why, self.value_features)


def settings_of(
    embed_dim: int,
    num_heads: int,
    modes: int | None = None,
    value_modes: int | None = None,
    *,
    num_kv_heads: int | None = None,
    **others: Any,
) -> Settings:
    """Return valid settings from the arguments of a framework's layer.

    By default `modes` divide the features equally among the heads, two channels per mode, and
    `value_modes` equal `modes`. `num_kv_heads` is `Settings.kv_heads`.

    Raises
    ------
    TypeError, ValueError
        If a setting is unknown, invalid, or inconsistent with another.
    """
    first, kv_heads = map(Settings._fields.index, ("form", "kv_heads"))
    optional = (*Settings._fields[first:kv_heads], *Settings._fields[kv_heads + 1 :])
    if unknown := sorted(set(others) - set(optional)):
        listed = ", ".join(f"`{name}`" for name in (*optional, "num_kv_heads"))
        msg = f"settings must be among {listed}, got `{unknown[0]}`. Correct the name."
        raise TypeError(msg)
    for name, x in (("embed_dim", embed_dim), ("num_heads", num_heads)):
        if not is_count(x):
            _refuse(name, "a positive integer", x)
    if modes is None:
        modes, remainder = divmod(embed_dim, 2 * num_heads)
        if remainder:
            msg = (
                "`modes` must be given unless `embed_dim` is a multiple of 2 · `num_heads`, two "
                f"channels a mode, got {embed_dim} and {num_heads} heads. Pass a number of modes, "
                "or change one of the two."
            )
            raise ValueError(msg)
    value_modes = modes if value_modes is None else value_modes
    settings = Settings(embed_dim, num_heads, modes, value_modes, kv_heads=num_kv_heads, **others)
    settings.validate()
    return settings


def arguments_of(settings: Settings) -> dict[str, Any]:
    """Return the arguments of a framework's layer, from which `settings_of` makes `settings`."""
    fields = settings._asdict()
    names = {"embed_dim": "features", "num_heads": "heads", "num_kv_heads": "kv_heads"}
    return {argument: fields.pop(name) for argument, name in names.items()} | fields


def _refuse(name: str, expected: str, arrived: object) -> None:
    msg = f"`{name}` must be {expected}, got {arrived!r}."
    raise (ValueError if isinstance(arrived, int | float | str | tuple) else TypeError)(msg)
