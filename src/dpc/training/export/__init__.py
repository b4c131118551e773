"""From a checkpoint to a model artifact: graphs, exact pixels and their proof, calibrated tables."""
