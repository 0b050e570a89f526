"""Scores: which customers are due, their rollups, the new risk, and what a change of model rewrites."""
