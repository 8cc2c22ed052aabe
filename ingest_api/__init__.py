"""The gateway: predictions, activity in, and what is known of users, over HTTP."""
