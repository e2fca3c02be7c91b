"""The gateway: the HTTP API, the live socket and the desktop's files, without a rule or a table of its own."""
