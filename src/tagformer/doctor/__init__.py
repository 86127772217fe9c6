"""Looking for what may go wrong before it does: installation, machine, disk, data and run folders."""
