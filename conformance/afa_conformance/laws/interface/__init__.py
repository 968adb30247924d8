"""Laws of attention as a function: arguments, results, errors and warnings, spec §8."""
