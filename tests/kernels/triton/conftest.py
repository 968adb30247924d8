"""Kernels are interpreted on a CPU, which Triton has to know before it is imported."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
