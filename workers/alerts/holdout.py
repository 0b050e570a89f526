"""The holdout: a share of an account's customers whom no alert reaches, so that it shows whether alerts help."""

import hashlib

PERSON = b"windback holdout"


def is_held_out(customer_id: str, percent: float) -> bool:
    """The same for ever for a customer and a share; who is held out at 10 % is so at 20 %, too."""
    digest = hashlib.blake2b(customer_id.replace("-", "").encode(), digest_size=4, person=PERSON).digest()
    return int.from_bytes(digest) < percent / 100 * 2**32
