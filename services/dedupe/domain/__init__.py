"""Dedupe's rules: what a key is and how a name becomes one."""
