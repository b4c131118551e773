"""Training: networks, losses, data and the loop. The only part of dpc that needs torch throughout."""
