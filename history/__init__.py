"""The history worker: reads `churn-score`, keeps each user's scores and the population by band."""
