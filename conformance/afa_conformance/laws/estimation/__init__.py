"""The exact estimators, and what attention drops (spec §11)."""
