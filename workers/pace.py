"""The amount of work done at once: half after a lack of time or memory, down to one; twice after a success."""


class Pace:
    """The size of the next piece of work, from 1 to `most`."""

    def __init__(self, most: int, size: int) -> None:
        self.most, self.size = most, size

    def slower(self) -> bool:
        """Halve the size. Returns False if it was 1 already: then the piece itself is at fault."""
        before, self.size = self.size, max(1, self.size // 2)
        return before > 1

    def faster(self) -> None:
        """Double the size after a success."""
        self.size = min(self.most, self.size * 2)
