"""`ok` means: it will be in Postgres exactly once, and the customer's risk will include it."""

from pathlib import Path

import pytest

from tests import prepared
from tests.acceptance.chaos import storm
from tests.acceptance.chaos.servers import Shape

pytestmark = pytest.mark.timeout(600)  # other tests that start many processes run beside it


@pytest.fixture
def folder(tmp_path: Path, prepared_folder: Path) -> Path:
    """A data folder whose Postgres is set up."""
    prepared.copy(prepared_folder, tmp_path)
    return tmp_path


def test_whatever_dies_nothing_is_lost_and_nothing_is_twice(folder: Path) -> None:
    """Every kind of process and both servers are killed, frozen, away for a while, and all restarted, under load."""
    report = storm.run(folder, seed=7)
    assert not report.findings, report
    assert report.acknowledged > 1000
    assert report.alerts > 0
    assert {"200", "207"} <= report.answers.keys()


@pytest.mark.parametrize("shape", [Shape(4, "cluster"), Shape(4, "several")], ids=["cluster", "several"])
def test_whatever_dies_of_a_cell_nothing_is_lost_and_nothing_is_twice(folder: Path, shape: Shape) -> None:
    """Masters of a cluster die and hang until their replicas take over; a Redis and a Postgres of cells are away."""
    report = storm.run(folder, seed=7, shape=shape)
    assert not report.findings, report
    assert report.acknowledged > 1000
