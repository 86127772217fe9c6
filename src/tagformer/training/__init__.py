"""Training on Lightning. Nothing outside this folder imports Lightning."""
