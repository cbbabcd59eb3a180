"""`brokerctl`, also `python -m broker.cli`."""

from __future__ import annotations

import os
import sys

from broker.cli.program import PROGRAM, run


def main() -> int:
    """Run the command line of this process; return the exit code."""
    program = os.path.basename(sys.argv[0])
    return run(sys.argv[1:], os.environ, PROGRAM if program == "__main__.py" else program)


if __name__ == "__main__":
    sys.exit(main())
