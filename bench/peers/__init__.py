"""Ebbtide beside the frameworks that one would otherwise take, each in its own environment."""
