"""Laws of prediction, gate, innovation, samples, input and delay, spec §10."""
