"""Nightly training: models are fitted, evaluated against what happened, and served if they are better."""
