"""What the endpoints are and say."""
