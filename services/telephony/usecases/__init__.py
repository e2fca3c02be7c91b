"""What telephony does: one function a use case, one transaction each."""
