"""Media: how a file becomes an element of a space, and comes back."""
