"""What becomes of the gateway and the scorer when more is asked of them than they can do."""
