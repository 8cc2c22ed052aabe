"""The pure part: folding the log into facts, features, training, and the artefact that scores.

Nothing here reads a clock, a socket or an environment variable; time is always an argument.
"""
