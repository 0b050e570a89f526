"""Nightly training: models are fitted, evaluated against the outcomes, and served if they are better."""
