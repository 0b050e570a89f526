"""Tests against a cluster of Citus, whose coordinator CITUS_URL names. Skipped without it: no registry has Citus."""
