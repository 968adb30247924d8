"""The exact estimators of the model that attention approximates (spec §11).

The state of each mode follows dx = λx dt + σ dw with λ = −μ + iω and is measured as
z_i = x(t_i) + v_i, Var v = η². With a diffuse start the best estimate of x(t_i) is generalised
least squares over the estimates e^{λΔ_ij} z_j, whose errors share V(min(Δ_ij, Δ_il)):

* `batch_mle` solves these equations densely, for tests and small problems;
* `filter` solves them for the measurements so far, by the Kalman recursion, and returns the
  log-likelihood;
* `smoother` solves them for all measurements, by the Rauch–Tung–Striebel recursion;
* `robust_filter` gives every measurement a Student-t weight by iterated reweighting.

Attention keeps the diagonal of that covariance and adds γ². It equals the filter where
σ² = γ² = 0, where σ² = μ = 0 (the mean), and where γ² = 0 and there is at most one earlier token.
With γ² = 0 its 1/p is less than the variance of the filter in all other cases. The query noise γ²
is not part of the exact model, and no function here uses it.
"""

from afa_core.kalman.backward import Smoothed, smoother
from afa_core.kalman.batch import batch_mle
from afa_core.kalman.forward import Filtered, filter
from afa_core.kalman.measurements import Prior
from afa_core.kalman.robust import RobustFiltered, robust_filter

__all__ = [
    "Filtered",
    "Prior",
    "RobustFiltered",
    "Smoothed",
    "batch_mle",
    "filter",
    "robust_filter",
    "smoother",
]
