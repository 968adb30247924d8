"""The features that a user may ask for, and the laws that test each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from afa_conformance.columns import TableColumn
from afa_conformance.schema import SubjectReport

ANY = ("*",)
DOUBLE_SUM = "attention/test_double_sum.py::"
HALF_PRECISION = "attention/test_half_precision.py::"


class Feature(NamedTuple):
    """A feature, and what shows it.

    Parameters
    ----------
    title : str
    laws : tuple of str
        Patterns of cases of laws.
    shown_by : callable
        ``shown_by(under_test)``: whether a run under test can show the feature at all.
    """

    title: str
    laws: tuple[str, ...] = ANY
    shown_by: Callable[[SubjectReport], bool] = lambda _: True

    def concerns(self, case: str) -> bool:
        """Return whether a case of a law tests the feature; brackets are literal."""
        return any(fnmatchcase(case, law.replace("[", "[[]")) for law in self.laws)


def dtype_of(column: TableColumn, case: str) -> str:
    """Return the dtype that a case is about: that of the run, or of half-precision tokens."""
    if case.startswith(HALF_PRECISION):
        return case.partition("[")[2].rstrip("]")
    return column.under_test["dtype"]


def _has_mode(mode: str) -> Callable[[SubjectReport], bool]:
    return lambda under_test: mode in under_test["mode"].split(", ")


def _runs(*implementations: str) -> Callable[[SubjectReport], bool]:
    return lambda under_test: under_test["implementation"] in implementations


def _form(title: str, name: str, laws: Iterable[str] = ()) -> Feature:
    """Return the feature of a form, which laws of any form test where the run supports it."""
    each = f"{DOUBLE_SUM}test_estimate_is_the_double_sum[{name}-*"
    return Feature(
        title,
        (f"{DOUBLE_SUM}test_any_regime", each, *laws),
        lambda under_test: name in under_test["supports"].get("form", [name]),
    )


FEATURES: dict[str, tuple[Feature, ...]] = {
    "How it runs": (
        Feature("eager", shown_by=_has_mode("eager")),
        Feature("compiled", shown_by=_has_mode("compiled")),
        Feature("mapped", shown_by=_has_mode("mapped")),
        Feature("exported", shown_by=_has_mode("exported")),
        Feature("in tiles, `streaming`", shown_by=_runs("streaming")),
        Feature("in compiled loops, `fused`", shown_by=_runs("fused")),
        Feature("in kernels, `triton` or `pallas`", shown_by=_runs("triton", "pallas")),
    ),
    "Attention": (
        _form("isotropic form", "isotropic"),
        _form("diagonal form", "diagonal"),
        _form("radial–tangential form", "radial_tangential", ["radial_tangential/*"]),
        Feature("correlated keys", ("correlated/*",)),
        Feature("tokens in half precision", (f"{HALF_PRECISION}*",)),
        Feature("precision of estimates", (f"{DOUBLE_SUM}test_precision",)),
        Feature("weights for inspection", (f"{DOUBLE_SUM}test_weights_for_inspection",)),
        Feature(
            "causality, masks, padding",
            (
                "attention/test_causality.py::*",
                "attention/test_masked_keys.py::*",
                "attention/test_no_visible_keys.py::*",
                "attention/test_padding.py::*",
            ),
        ),
        Feature("batches, heads, grouped heads", ("attention/test_broadcasting.py::*",)),
        Feature(
            "irregular times, time stamps",
            ("attention/test_permutation.py::*", "attention/test_time_shift.py::*"),
        ),
        Feature("uniform weights as a convolution", ("attention/test_linear_case.py::*",)),
        Feature("rotary attention and other limits", ("limits/*",)),
        Feature("windowed attention", ("window/*",)),
    ),
    "Derivatives": (
        Feature("gradients of attention", ("weights/test_*gradients.py::*",)),
        Feature("gradients of decoding", ("decoding/test_gradients.py::*",)),
        Feature(
            "gradients of filter and smoother", ("estimation/test_gradients.py::test_gradient*",)
        ),
    ),
    "Other functions": (
        Feature("decoding with a cache", ("decoding/*",)),
        Feature("predictions, gates, samples", ("estimates/*",)),
        Feature("Kalman filter and smoother", ("estimation/*",)),
        Feature("covariances", ("kernel/*",)),
    ),
}
"""All features by the heading that they stand under."""
