"""The holdout: a share of an account's customers without alerts, to measure the effect of alerts on the others."""

import hashlib

PERSON = b"windback holdout"


def is_held_out(customer_id: str, percent: float) -> bool:
    """Returns True in the holdout. It never changes; a customer in a holdout of 10% is in one of 20%, too."""
    digest = hashlib.blake2b(customer_id.replace("-", "").encode(), digest_size=4, person=PERSON).digest()
    return int.from_bytes(digest) < percent / 100 * 2**32
