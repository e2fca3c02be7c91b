"""Own calls, pops, recordings and the SMS modems."""
