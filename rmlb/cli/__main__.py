"""`python -m rmlb.cli` is `rmlb`."""

from rmlb.cli import main

if __name__ == "__main__":
    main()
