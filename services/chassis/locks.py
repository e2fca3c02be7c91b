"""One holder at a time: an advisory lock that a PostgreSQL session has until it ends, however that ends."""

from typing import Final

# Ask for the lock of a name; true when it is ours. Parameter: the name.
LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"

# libpq `options`: a holder whose machine vanished keeps its locks, those on rows too, until the server finds out: by
# keep-alive where nothing was under way, by the time that an answer went unread where one was. About 10 s both.
KEEPALIVE: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 11_000,
    }.items()
)
# The same on our side, as parameters of libpq: whoever waits for a server that vanished waits no longer.
PATIENCE: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,
}
