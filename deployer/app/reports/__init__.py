"""What is told of a rollout afterwards: store and recording in, views out."""
