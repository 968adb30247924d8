"""One file a law, grouped as in spec §13."""
