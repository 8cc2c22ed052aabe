"""The scorer: load, fold, score, publish, save, and the silence timers."""
