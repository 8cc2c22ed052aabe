"""Faults at random moments under a seeded history, and an oracle. See docs/reliability.md."""
