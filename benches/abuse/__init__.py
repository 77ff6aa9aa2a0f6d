"""Attackers on loopback, and the sink that shows what they cost a machine by themselves."""
