"""The one error that the one-machine stack shows its user."""


class LocalError(Exception):
    """A start that cannot go on; the message says why and what to do, and is printed without a traceback."""
