"""The addresses of the server, one idea per file."""
