"""`python -m prerlkit`, the same as the command `prerlkit`."""

from prerlkit.cli import main

if __name__ == "__main__":
    main()
