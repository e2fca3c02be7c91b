"""Customers, their contacts and phones, public pools, and who owns what."""
