"""Tests against a cluster of Citus, whose coordinator CITUS_URL names. Skipped without it: no registry has Citus.

`CITUS_URL=postgresql://… pytest tests/acceptance/citus` runs the workers' tests and the line there. With
`CITUS_NODES="host:port host:port"` too, it moves four cells between two nodes while events come in and all is read,
stops a node and starts it again, and finds each event stored and counted once; refuses events on shards; divides placed
cells, moves one by the command, and compares all answers with those of a single cell. What is left out of the workers'
tests, and why, stands in test_suite.py.
"""
