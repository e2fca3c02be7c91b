"""Orders: generated from won opportunities, handled by their owners, approved by amount."""
