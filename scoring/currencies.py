"""Minor units of currencies (ISO 4217): most have hundredths."""

from typing import Final

WITHOUT_MINOR: Final = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
WITH_THOUSANDTHS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def digits_of(currency: str) -> int:
    """How many decimals an amount of this currency has."""
    return 0 if currency in WITHOUT_MINOR else 3 if currency in WITH_THOUSANDTHS else 2
