"""Requests for an account's track record; workers/learning/track_records.py computes it."""

from workers.store import Connection, sql


def request(connection: Connection, account_id: int) -> None:
    """Have an account's track record computed soon: its history or its model changed."""
    connection.execute(sql("request_track_record"), {"account_id": account_id})
