"""The error that ends a command with a message of one line and exit code 2."""


class CommandError(Exception):
    """An error in the input or output of a command that its user can correct."""
