"""Numbers for people: formats, and reading."""

LONGEST_NUMBER = 9  # digits


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """Returns `1 event`, `2,000 events`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def read_whole(text: str, least: int, most: int) -> int | None:
    """Returns the whole number of these bounds that a text is, or None: ASCII digits alone."""
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        return None
    return int(text) if least <= int(text) <= most else None


def describe_top_tenth(lift: float | None) -> str:
    """Returns what a lift in the top decile means, as a sentence."""
    if lift is None:
        return "Nobody churned in them."
    share = f"{min(lift / 10, 1):.0%} of those who churned"
    return f"There, the riskiest 10% of customers held {share} ({lift:.1f} times as many as by chance)."
