"""Texts as a database can hold them."""


def storable(text: str, length: int | None = None) -> str:
    """Mend what a database cannot hold, half characters and NUL, and clip what is too long."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:length]
