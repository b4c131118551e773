"""Measuring codecs: runs, reports, and a page to look at."""
