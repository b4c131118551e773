"""python -m dpc.cli: the command `dpc`."""

from dpc.cli.main import main

if __name__ == "__main__":
    main()
