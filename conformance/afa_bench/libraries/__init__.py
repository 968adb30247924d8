"""What measuring needs of each array library, a module a library."""
