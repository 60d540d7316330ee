"""What the command line does, as Python functions: one file a verb."""
