"""Data sets of several formats, written by tests."""
