"""How numbers are written for people."""


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """Returns `1 event`, `2,000 events`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
