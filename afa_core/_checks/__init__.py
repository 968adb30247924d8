"""From the arguments of a caller to a problem: kinds, shapes, devices, times, values."""
