"""Derivatives of the weight of the prior's mean, where it vanishes (spec §14)."""

from __future__ import annotations

import numpy as np
import pytest

from afa_core import IsotropicSDE, Noise, StudentT, attention

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("implementation", ["reference", "streaming"])
def test_rows_do_not_cancel_each_other(implementation: str) -> None:
    """The derivative in μ of all rows is the sum of those of each row, to 1e-12.

    Rows beyond the last of keys without noise lack almost nothing of 1; at β < 1 the derivative
    by what they lack is about 1e21, and must not be added to and subtracted from others.
    """
    rng = np.random.default_rng(0)
    query, key, value, factor = (torch.asarray(rng.normal(size=(4, 2))) for _ in range(4))
    times = torch.asarray(np.cumsum(0.3 + rng.random(4)))

    def slope(rows: slice) -> float:
        decay = torch.tensor(1e-10, dtype=torch.float64, requires_grad=True)
        sde = IsotropicSDE(decay, 0.0, Noise(0.7, 1e-12, 0.5))
        out = attention(
            query, key, value, sde, weighting=StudentT(4.5), inverse_temperature=0.6,
            query_times=times + 0.2, key_times=times, causal=False, correlated=True,
            implementation=implementation,
        )  # fmt: skip
        (out * factor)[rows].sum().backward()
        assert decay.grad is not None
        return float(decay.grad)

    each = [slope(slice(row, row + 1)) for row in range(4)]
    scale = sum(map(abs, each))
    assert abs(slope(slice(None)) - sum(each)) <= 1e-12 * scale
