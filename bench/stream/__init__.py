"""How fast the stream is worked off, beside consumers that do less and the one most would write."""
