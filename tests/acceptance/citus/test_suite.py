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
STAMPS = "moves times of rows by a statement with `timestamptz - interval`"
COPIES = "copies or locks rows by a statement that Citus has no plan for"
DIFFERENT = {
    "tests/workers/store": "makes schemas and migrates them",
    "tests/workers/ingest/test_faults.py": "makes triggers",
    "tests/workers/ingest/test_news.py": STAMPS,
    "tests/workers/risk/test_rescore.py::test_the_history_gets_a_row": STAMPS,
    "tests/workers/alerts/test_deliver.py::test_above_the_cap_the_rest_of_the_hour_is_one_message": STAMPS,
    "tests/workers/alerts/test_deliver.py::test_the_alerts_of_a_customer_keep_their_order": COPIES,
    "tests/workers/upkeep/test_retention.py::test_a_replayed_dead_letter": COPIES,
    "tests/workers/upkeep/test_erasure.py::test_nothing_of_the_customer_stays_but_a_receipt": "reads the catalogue",
    "tests/workers/upkeep/test_recount.py::test_a_recount_reads_each_row_once": "reads plans",
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
