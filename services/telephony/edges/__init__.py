"""The processes that own a piece of the outside world: a PBX, the modems."""
