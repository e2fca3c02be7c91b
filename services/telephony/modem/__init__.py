"""The SMS edge: one plain thread for each modem, from the serial line up to the `SmsQueue` port."""
