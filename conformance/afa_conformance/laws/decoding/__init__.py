"""Steps against a cache, and merging what parts of the keys leave behind, spec §9."""
