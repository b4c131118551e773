"""The command line `dpc`: one file for each group of commands."""

from dpc.cli.main import app, main

__all__ = ["app", "main"]
