"""What bar 2 asks of the official client."""
