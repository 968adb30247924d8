"""Laws of the robust weights and of gradients (spec §3)."""
