"""How fast `/predict` answers, beside routes that do less."""
