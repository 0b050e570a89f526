"""Keeping the tables right and small: totals, retention, erasure, recounts, snapshots."""
