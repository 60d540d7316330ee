"""Configurations and models on disk."""
