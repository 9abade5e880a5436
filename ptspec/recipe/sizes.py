"""Bytes as a person reads them."""


def bytes_in_words(count: float) -> str:
    """ "58 MB", "11.3 GB" (decimal units, as disks and cards are sold)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{count:.0f} B"
