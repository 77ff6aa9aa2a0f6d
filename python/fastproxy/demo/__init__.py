"""`fastproxy demo`: engines, a gateway and a table of what flows, in one command."""
