"""Minor units of currencies (ISO 4217): most have hundredths."""

from typing import Final

WITHOUT_MINOR: Final = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
WITH_THOUSANDTHS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def digits_of(currency: str) -> int:
    """Returns the number of decimals of an amount in this currency."""
    return 0 if currency in WITHOUT_MINOR else 3 if currency in WITH_THOUSANDTHS else 2


def describe_amount(minor: float, currency: str | None) -> str:
    """An amount in minor units with its currency: 4,900 EUR."""
    return f"{minor / 10 ** digits_of(currency or ''):,.0f}\u00a0{currency or ''}".rstrip()
