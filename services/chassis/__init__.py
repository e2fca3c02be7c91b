"""The shared chassis: what every service stands on, without a business word.

Guarantees: every write of a service is one transaction that also holds what it tells others (outbox), what it
was told (inbox) and what it was asked (request). What is lost when a process dies is only work whose
transaction had not committed, and its caller may safely repeat it.
"""
