"""What libraries do to functions: compile, differentiate, map, trace, restrict."""
