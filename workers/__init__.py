"""Everything behind the door. RQ is told its prefix before anything imports it."""

from workers import redis as redis
