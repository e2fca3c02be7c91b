"""The rules of telephony: pure, without I/O and without a clock."""
