"""An application of two files."""
