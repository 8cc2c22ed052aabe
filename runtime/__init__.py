"""Plumbing shared by the services: Kafka, Redis, watermarks, settings, metrics, logs, health."""
