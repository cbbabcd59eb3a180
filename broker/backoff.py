"""How long to wait between the tries of something that fails, longer after each failure.

Decides a time and nothing else: the caller counts its tries, reads the clock and waits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Backoff:
    """A wait of `delay` seconds; the one after it is `factor` times as long, but never longer than `maximum`.

    To start again from the first delay, take the first value again.
    """

    delay: float
    maximum: float
    factor: float = 2.0

    def longer(self) -> Backoff:
        """Return the wait that follows this one when the next try fails too."""
        if self.delay >= self.maximum:
            return self
        return replace(self, delay=min(self.delay * self.factor, self.maximum))

    def jittered(self, chance: float, *, most: float = 1.0) -> float:
        """Return seconds from half of `delay` up to `most` times `delay`, so that those who collided spread out.

        `chance` is a random number from 0 to 1.
        """
        return self.delay * (0.5 + (most - 0.5) * chance)
