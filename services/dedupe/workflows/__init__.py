"""The workflow that settles reservations nobody confirmed."""
