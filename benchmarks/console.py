"""Shows progress while measuring: a progress bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.run import Progress as ProgressTick


class ConsoleReporter:
    """Writes to standard output."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    @contextmanager
    def running(self, text: str, goal: int) -> Iterator[ProgressTick]:
        """Show the progress of one run; without a terminal nothing is shown until its result."""
        if not self._console.is_terminal:
            yield lambda published, consumed: None
            return
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[consumed]:,} delivered"),
            TimeElapsedColumn(),
        ]
        # Refreshed rarely: drawing uses CPU time of a core on which the load runs.
        with Progress(*columns, console=self._console, transient=True, refresh_per_second=4) as bar:
            task = bar.add_task(text, total=goal, consumed=0)
            yield lambda published, consumed: bar.update(task, completed=published or consumed, consumed=consumed)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False)
        self._console.file.flush()
