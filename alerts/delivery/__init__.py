"""From `churn-alert` to people: channels, quiet hours, caps, storm guard, delivery log."""
