"""What fits into the time on this machine, and the size of the images."""
