"""One address, however it is written: composed and decomposed letters, Unicode and punycode domains."""

from functools import lru_cache
from unicodedata import normalize

import idna

ROUNDS = 3  # until nothing changes any more; the second one is enough for all letters there are


def normalise_email(email: str) -> str:
    """Returns the form in which an address is stored and compared: trimmed, in lower case, composed (NFC), and with the
    domain in Unicode (IDNA 2008)."""
    plain = email.strip().lower()
    if plain.isascii() and "xn--" not in plain:  # nearly always
        return plain
    return _normalise_international(plain)


@lru_cache(maxsize=10_000)
def _normalise_international(email: str) -> str:
    for _ in range(ROUNDS):
        local, at, domain = normalize("NFC", email).rpartition("@")
        written = normalize("NFC", f"{local}{at}{_decode_domain(domain)}".lower()).strip()
        if written == email:
            break
        email = written
    return email


def _decode_domain(domain: str) -> str:
    """Returns the domain in Unicode; one that IDNA doesn't allow stays as it is."""
    try:
        return idna.decode(idna.encode(domain, uts46=True))
    except (idna.IDNAError, UnicodeError):
        return domain
