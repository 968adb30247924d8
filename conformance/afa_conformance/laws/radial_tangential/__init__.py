"""Laws of the radial–tangential form alone (spec §6)."""
