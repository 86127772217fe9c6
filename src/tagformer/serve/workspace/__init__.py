"""The page's side of the server: its images, what the model says of all of them, the answers, and the loop."""
