"""Everything behind the door. RQ gets its prefix before any module imports it."""

from workers import redis as redis
