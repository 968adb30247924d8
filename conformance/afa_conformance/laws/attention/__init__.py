"""Laws that hold for every form of attention (spec §3–§5, §8)."""
