"""`python -m rankwright`, where the command is not on the PATH."""

from rankwright.cli import main

if __name__ == "__main__":  # worker processes import this file too
    main()
