"""Optimisers beside those of torch."""
