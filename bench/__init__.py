"""Measurements anyone can repeat. Nothing here is a test; nothing in the product imports it."""
