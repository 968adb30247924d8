"""The error that ends a command with one line and exit code 2."""


class CommandError(Exception):
    """Something about the command's input or output that its user can mend."""
