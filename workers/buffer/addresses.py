"""An address in all its spellings: composed and decomposed letters, Unicode and punycode domains."""

from functools import lru_cache
from unicodedata import normalize

import idna

LONGEST = 1_024  # characters, of which no form of an address has so many
ROUNDS = 3  # until nothing changes any more; the second one is enough for all letters there are


def normalise_email(email: str) -> str:
    """Returns the form in which an address is stored and compared: trimmed, in lower case, composed (NFC), and with the
    domain in Unicode (IDNA 2008). Text that is too long for an address is only trimmed."""
    plain = email.strip()
    if len(plain) > LONGEST:
        return plain
    plain = plain.lower()
    return _normalise_international(plain) if is_international(plain) else plain


def is_international(email: str) -> bool:
    """Returns whether an address may have other forms: nearly none has."""
    return not email.isascii() or "xn--" in email.lower()


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
