"""Everything behind the HTTP API: storing, scoring, learning, alerts and upkeep.

RQ gets its prefix before any module imports it.
"""

from workers import redis as redis
