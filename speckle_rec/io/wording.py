"""Words around numbers."""


def counted(n: int, noun: str) -> str:
    """So many things: "1 scan", "2 scans"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
