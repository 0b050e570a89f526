"""The workers' suite and the line, against Citus: as they stand, only that each database's schema is placed by it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SUITES = ("tests/workers", "tests/acceptance/test_line.py", "tests/acceptance/test_redelivery.py")
# Beginnings of names, and the reason: the test, not what it tests, does what Citus refuses.
SOCKET = "stands between Windback and Postgres, whose socket it needs"
EMPTIED = "empties the schema in which Citus itself is"
PLANS = "reads the plan of a statement, or how many rows were read of a table"
DIFFERENT = {
    "tests/workers/ingest/test_faults.py": "makes triggers",
    "tests/workers/store/test_nodes.py": "imitates the catalogue of Citus",
    "tests/workers/store/test_connections.py": SOCKET,
    **{
        f"tests/workers/store/{test}": EMPTIED
        for test in (
            "test_migrate.py::test_the_migrations_add_up_to_the_schema",
            "test_migrate.py::test_migrating_",
            "test_migrate.py::test_several_cells_share_a_database",
            "test_migrate.py::test_what_is_pending_is_known",
            "test_migrate.py::test_a_failed_migration_leaves_nothing_behind",
            "test_sessions.py::test_a_pooler_in_",
            "test_sessions.py::test_a_search_path_is_kept",
            "test_sessions.py::test_tables_of_somebody_else",
            "test_sessions.py::test_missing_rights_",
            "test_sessions.py::test_a_role_without_rights_",
            "test_sessions.py::test_an_extension_that_is_not_looked_for_",
        )
    },
    "tests/workers/ingest/test_news.py::test_customers_are_looked_up_however_few_there_were": PLANS,
    "tests/workers/upkeep/test_recount.py::test_a_recount_reads_each_row_once": PLANS,
    "tests/workers/upkeep/test_totals.py::test_the_new_days_of_an_import_are_not_compared": PLANS,
}
MINUTES = 90

pytestmark = pytest.mark.skipif(
    "CITUS_URL" not in os.environ, reason="CITUS_URL names no coordinator of Citus, and no registry has Citus to start"
)


@pytest.mark.timeout(MINUTES * 60)
@pytest.mark.parametrize("suite", SUITES)
def test_the_suite_passes(suite: str) -> None:
    left_out = [option for test in DIFFERENT for option in ("--deselect", test)]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", suite, *left_out]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MINUTES * 60, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:]
    assert re.search(r"\d+ passed", ended.stdout)
