"""`python -m benchmarks`; load processes import this module again, so it stays light."""

import sys

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main(sys.argv[1:]))
