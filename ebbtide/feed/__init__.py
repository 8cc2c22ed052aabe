"""Sending made-up or recorded activity into a running pipeline: paced, in order, resumable."""
