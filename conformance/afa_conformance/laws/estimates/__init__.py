"""What else the estimate carries, spec §10."""
