"""Pretraining and fine-tuning: needs the `train` extra, and nothing that runs for a musician imports it."""
