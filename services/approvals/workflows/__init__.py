"""The workflow that waits for an approval's decisions."""
