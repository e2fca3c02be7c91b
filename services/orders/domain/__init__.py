"""The rules of orders: pure, synchronous, without I/O or clock."""
