"""An SMS modem to play with and to test against: a simulator on a pty that no message ever leaves.

It shares no code with `services.telephony.modem`, so that a mistake there shows up here; two other programs,
gammu and smstools, are made to send and receive through it in the tests.
"""
