"""How an implementation behaves as a function, spec §8."""
