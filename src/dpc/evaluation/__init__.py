"""Measuring codecs: metrics, other codecs, compression and detection experiments."""
