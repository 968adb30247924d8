"""Settings: one operation of one array library at one problem size."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core.command.errors import CommandError
from afa_core.model.weighting import Gaussian, Rational, StudentT, Uniform, Weighting

LIBRARIES = ("numpy", "torch", "jax", "cupy")
FORMS = ("isotropic", "radial-tangential", "diagonal")
DTYPES = ("float32", "float64", "bfloat16")
WEIGHTINGS: dict[str, Weighting] = {
    "student": StudentT(4.0),
    "rational": Rational(4.0),
    "gaussian": Gaussian(),
    "uniform": Uniform(),
}
LAYER_STEP = "layer step"
"""The case of a token that passes a layer, with a cache of keys."""
ONNX_LAYER = "ONNX layer"
"""The case of a layer as an ONNX model, which ONNX Runtime runs."""
SIZES = ("batch", "heads", "tokens", "modes")
GAINS = (1 / 1000, 1 / 4)
"""Minimum and maximum over the heads of the gain K in the steady state of correlated keys."""


class Setting(NamedTuple):
    """One operation of one array library at one problem size.

    Parameters
    ----------
    library : str
        Name of a backend.
    case : str
        Name of an operation in `afa_bench.cases.CASES`.
    form, weighting : str
        Names in `FORMS` and `WEIGHTINGS`.
    batch, heads, tokens : int
        Leading axes and length of the sequence; in decoding, the number of cached tokens.
    modes : int
        d complex modes: arrays have 2d real channels.
    dtype : str
    backward : bool
        Whether to compute the gradients with respect to query, key, value and all parameters
        except dof and temperature.
    implementation : str
        As in `afa_core.attention`.
    device : str
        Of the backend; empty for its first device.
    decay : pair of float
        Minimum and maximum of μ, 1/time, over the heads (in the diagonal form, the modes).
    irregular : bool
        Whether times between tokens are drawn from an exponential distribution of mean 1, for each
        sequence of the batch; otherwise they are 1.
    correlated : bool
        Whether keys are correlated, as in `afa_core.attention`: far keys are then left out where
        that changes results by no more than rounding. The heads have the gains `GAINS`.
    threads : int
        Threads of torch, Numba and BLAS; 0 for as many as they choose.
    """

    library: str = "torch"
    case: str = "attention"
    form: str = "isotropic"
    weighting: str = "student"
    batch: int = 1
    heads: int = 8
    tokens: int = 4096
    modes: int = 64
    dtype: str = "float32"
    backward: bool = False
    implementation: str = "auto"
    device: str = ""
    decay: tuple[float, float] = (1e-4, 1e-1)
    irregular: bool = False
    correlated: bool = False
    threads: int = 0

    @property
    def passes(self) -> str:
        """The passes that are measured, in words."""
        return "forward and backward" if self.backward else "forward"

    @property
    def pairs(self) -> int:
        """Number of visible pairs of tokens."""
        return self.batch * self.heads * self.tokens * (self.tokens + 1) // 2

    @property
    def on_threads(self) -> str:
        """The number of threads at the end of a list, empty if it is not given."""
        return f", {self.threads} thread{'s' * (self.threads > 1)}" if self.threads else ""

    def check(self) -> None:
        """Raise CommandError for a field that is out of its range."""
        named: dict[str, tuple[str, ...]] = {
            "library": LIBRARIES,
            "form": FORMS,
            "weighting": tuple(WEIGHTINGS),
            "dtype": DTYPES,
        }
        for name, choices in named.items():
            require_choice(name, getattr(self, name), choices)
        for name in SIZES:
            size = getattr(self, name)
            if size < 1:
                msg = f"`{name}` must be at least 1, got {size}. Give the size of your own arrays."
                raise CommandError(msg)
        self._check_threads()
        if self.backward and self.library in ("numpy", "cupy"):
            msg = (
                f"`backward` needs a library that differentiates, got {self.library!r}. "
                "Leave it out, or choose 'torch' or 'jax'."
            )
            raise CommandError(msg)
        if self.dtype == "bfloat16" and self.library in ("numpy", "cupy"):
            msg = (
                f"`dtype` must be 'float32' or 'float64' for {self.library!r}, which has no "
                "bfloat16, got 'bfloat16'. Choose one of them, or 'torch' or 'jax'."
            )
            raise CommandError(msg)

    def _check_threads(self) -> None:
        if self.threads < 0:
            msg = f"`threads` must be at least 0, got {self.threads}. 0 leaves them as they are."
            raise CommandError(msg)
        if self.threads and self.library not in ("numpy", "torch"):
            msg = (
                f"`threads` must be 0 for {self.library!r}, which has no such option, got "
                f"{self.threads}. Leave it out, or choose 'numpy' or 'torch'."
            )
            raise CommandError(msg)

    def describe(self) -> str:
        """Return the library, the operation and its size in one line."""
        sizes = f"N={self.tokens}, H={self.heads}, d={self.modes}"
        if self.batch > 1:
            sizes = f"B={self.batch}, {sizes}"
        operation = self.case if self.case != "attention" else f"{self.form} {self.weighting}"
        kinds = {"irregular times": self.irregular, "correlated keys": self.correlated}
        parts = (
            f"{self.library} {operation}",
            *(name for name, present in kinds.items() if present),
            sizes,
            self.dtype,
            self.passes,
        )
        return ", ".join(parts) + self.on_threads


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise CommandError unless the value is one of the choices."""
    if value not in choices:
        listed = ", ".join(repr(each) for each in choices)
        msg = f"`{name}` must be one of {listed}, got {value!r}. Choose one of these."
        raise CommandError(msg)


def from_json(fields: dict[str, Any]) -> Setting:
    """Return the setting whose `_asdict` was written as JSON."""
    low, high = fields["decay"]
    return Setting(**fields)._replace(decay=(low, high))
