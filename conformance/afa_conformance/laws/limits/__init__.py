"""The limits of spec §7, each at its stated rate."""
