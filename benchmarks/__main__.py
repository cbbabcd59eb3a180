"""`python -m benchmarks`. Every load process imports this module again, so it imports little."""

import sys

if __name__ == "__main__":
    try:
        from benchmarks.command import main
    except ModuleNotFoundError as error:
        from benchmarks.missing import missing

        sys.exit(f"error: {missing(error)}")
    sys.exit(main(sys.argv[1:]))
