"""An odometer: joules that only ever grow, from a counter that wraps and restarts."""


class Odometer:
    """Adds up a counter that wraps or starts anew.

    Args:
        span: Where the counter wraps to 0; 0 for one that only restarts.
    """

    def __init__(self, span: float = 0.0) -> None:
        self.span = span
        self.total = 0.0
        self._before: float | None = None

    def add(self, count: float) -> float:
        """Take in what the counter shows; return what it has counted since the first call."""
        if self._before is not None:
            step = count - self._before
            if step < 0:
                # A restarted counter began at 0: what it shows is all it has counted since.
                step = step + self.span if self.span else count
            self.total += max(0.0, step)
        self._before = count
        return self.total
