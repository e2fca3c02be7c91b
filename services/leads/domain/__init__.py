"""The rules of leads: pure, synchronous, without I/O or clock."""
