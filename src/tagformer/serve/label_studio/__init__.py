"""What the backend of Label Studio reads: labeling configs, tasks and their images."""
