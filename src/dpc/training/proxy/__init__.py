"""A proxy of LPIPS: its network, the crops that it learns from, and its training. `python -m dpc.training.proxy`."""
