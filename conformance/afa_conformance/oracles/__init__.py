"""What the laws compare with: written from the specification, sharing no code with the library."""
