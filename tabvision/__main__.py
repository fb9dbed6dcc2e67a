"""`python -m tabvision`."""

import sys

from tabvision.cli import main

if __name__ == "__main__":
    sys.exit(main())
