"""One function a use case, each in the transaction that it is given."""
