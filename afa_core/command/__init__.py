"""The commands of `python -m afa_core`."""
