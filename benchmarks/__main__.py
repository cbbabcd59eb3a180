"""`python -m benchmarks`. Every load process imports this module again, so it imports little."""

import sys

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main(sys.argv[1:]))
