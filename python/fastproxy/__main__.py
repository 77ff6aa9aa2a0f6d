"""`python -m fastproxy` and the `fastproxy` command."""

from fastproxy.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
