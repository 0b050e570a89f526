"""Halves of surrogate pairs in JSON: the rest of an emoji that was cut in two. No decoder reads a body with one.

Python's and JavaScript's writers send them as escapes (`\\ud83d`), so a text of a customer's can bring one at any time.
"""

import re

MOST_BYTES = 512 * 1024  # of a body in which halves are looked for
NUL = rb"\u0000"  # in place of a half, where the part that has it is to be refused
REPLACEMENT = rb"\ufffd"  # where it is to be read: the character that Unicode has for this

HALF = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u"
    rb"(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2})"
)


def replace_halves(body: bytes, escape: bytes) -> bytes:
    """Returns a body with an escape (NUL or REPLACEMENT) in place of each half; a longer one as it is."""
    if len(body) > MOST_BYTES or rb"\ud" not in body.lower():
        return body
    return HALF.sub(rb"\1" + escape.replace(b"\\", rb"\\"), body)


def has_half(body: bytes) -> bool:
    """Returns whether a half stands in a body that isn't too long."""
    return len(body) <= MOST_BYTES and HALF.search(body) is not None
