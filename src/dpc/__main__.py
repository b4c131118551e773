"""python -m dpc: the command `dpc`."""

from __future__ import annotations

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


def main() -> None:
    """The entry point of the console script. Ctrl-C while the command line is still loaded ends without a traceback."""
    try:
        from dpc.cli.main import main as run
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    run()


if __name__ == "__main__":
    main()
