"""Laws of decoding with a cache and of merging partial states, spec §9."""
