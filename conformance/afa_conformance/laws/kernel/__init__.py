"""Laws of the propagated covariance and the residual covariance (spec §2)."""
