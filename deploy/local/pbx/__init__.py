"""A real Asterisk with simulated phones and a simulated carrier, to play with and to test against.

`unpack` gets Asterisk itself, `asterisk` runs it on loopback, `phones` answers and places calls with SIPp.
The dialplan, the queue settings and the service's AMI user are those of `deploy/asterisk`, which a real site
copies.
"""
