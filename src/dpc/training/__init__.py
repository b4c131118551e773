"""Training: data, losses, optimisers, the loop, and the export of models."""
