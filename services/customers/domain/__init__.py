"""The rules of customers: pure, synchronous, without I/O or clock."""
