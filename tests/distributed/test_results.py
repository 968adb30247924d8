"""Results over two sets of keys combine into the result over all of them."""

import numpy as np
import pytest

import afa_core as afa
from afa_core._array.masks import Visibility
from afa_core.distributed.results import combine_results
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import StaticProblem

MODES = 2


def static_problem(form):
    visibility = Visibility(1, 1, False, None)
    return StaticProblem((), MODES, form, afa.StudentT, 5, False, False, visibility)


@pytest.mark.parametrize("form", [afa.IsotropicSDE, afa.DiagonalSDE, afa.RadialTangentialSDE])
def test_combined_mean(form):
    """Weights far apart, peaks far from them, no keys at all, and NaN."""
    static = static_problem(form)
    components, width = static.components, 2 * MODES * static.estimates
    rng = np.random.default_rng(0)
    total = [rng.uniform(1.0, 2.0, (1, 4, components)) for _ in range(2)]
    peak = [np.zeros((1, 4, components)), np.zeros((1, 4, components))]
    total[0][:, 1], peak[0][:, 1] = 0.0, -np.inf
    total[0][:, 2], peak[1][:, 2] = 1e-200, -600.0
    total[1][:, 2] = 1e200
    peak[0][:, 3], peak[1][:, 3] = -np.inf, 300.0
    total[0][:, 3] = total[1][:, 3] = 0.0
    mean = [np.where(t[..., :1] > 0.0, rng.standard_normal((1, 4, width)), 0.0) for t in total]
    parts = [StreamResult(m, t, p, t) for m, p, t in zip(mean, peak, total, strict=True)]
    found = combine_results(*parts, static, xp=np)

    logs = [p + np.log(np.where(t > 0.0, t, 1.0)) for p, t in zip(peak, total, strict=True)]
    share = np.where(total[0] > 0.0, 1.0 / (1.0 + np.exp(logs[1] - logs[0])), 0.0)
    share = np.tile(share, 2) if form is afa.DiagonalSDE else np.repeat(share, 2 * MODES, axis=-1)
    expected = share * mean[0] + (1.0 - share) * mean[1]
    np.testing.assert_allclose(found.mean, expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(found.precision, total[0] + total[1])
    log_sum = found.peak + np.log(np.where(found.total > 0.0, found.total, 1.0))
    np.testing.assert_allclose(log_sum[:, :3], np.logaddexp(*logs)[:, :3], rtol=1e-14)
    assert (found.total[:, 3] == 0.0).all()
    assert (found.peak[:, 3] == -np.inf).all()
    with_nan = parts[0]._replace(total=np.full_like(total[0], np.nan))
    assert np.isnan(combine_results(with_nan, parts[1], static, xp=np).mean).all()
