"""Names for those who may know that somebody is there, but not who."""


def mask_name(name: str) -> str:
    """Return the first character and a star for each further one, at most two: 王小明 becomes 王**."""
    stripped = name.strip()
    return stripped[:1] + "*" * min(max(len(stripped) - 1, 1), 2) if stripped else "*"
