"""The state-space model: SDE, covariances, robust weights, estimates, simulation."""
