"""The PBX edge: the AMI link, the graph of live calls, the recordings that Asterisk leaves behind."""
