"""Run the whole product on one machine, with private stores under one folder.

Guarantees: nothing of the machine's own PostgreSQL or RabbitMQ is touched, every listener is on loopback
unless told otherwise, and whatever is started here dies with the supervisor, also when that is killed. What a
stop or a crash leaves is the state folder, from which the next start goes on.
"""
