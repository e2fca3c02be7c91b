"""One holder at a time: an advisory lock that a PostgreSQL session has until it ends, however that ends."""

from typing import Final

# Ask for the lock of a name; true when it is ours. Parameter: the name.
LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"

# libpq `options`: a holder whose machine vanished keeps the lock until the server's keep-alive finds out, about 10 s.
KEEPALIVE: Final = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
