"""Everything that installs and runs the product; only `deploy.local` is Python."""
