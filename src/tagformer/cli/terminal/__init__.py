"""What the commands share: the console with its options and tables, and help in plain words."""
