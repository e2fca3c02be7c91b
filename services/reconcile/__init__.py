"""Whether the services agree, and what mends it where they do not: `python -m services check [--repair]`.

For the operator, after a restore of stores that were put away at different instants, or after dead letters were thrown
away. While all run, outbox and inbox keep them in agreement, and this finds nothing.
"""
