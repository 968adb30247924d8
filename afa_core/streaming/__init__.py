"""Memory-efficient attention: the results of the reference in O(n + m) memory (spec §9)."""
