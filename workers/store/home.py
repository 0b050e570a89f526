"""The tables of the installation, and those of a cell.

Home holds what belongs to whole accounts and is written in one place. Everything else belongs to the customers of a
cell, or is a cell's own record of its work, and is written there alone. No statement touches both, so that they may
live on different servers; tests/workers/store/test_home.py holds every query to it.
"""

from typing import Final

HOME: Final = frozenset(
    {
        "accounts",
        "api_keys",
        "cells",
        "draft_templates",
        "ended_sessions",
        "matured",
        "models",
        "outages",
        "signing_secrets",
        "stripe_sources",
        "trainings",
        "webhooks",
    }
)
# Each database has its own; they identify it.
EVERYWHERE: Final = frozenset({"installation", "schema_migrations"})
