"""Identity's rules: what names, passwords and roles may be."""
