import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import main

GOOD = {"event": "login", "customer_email": "a@b.cd"}


class Service(ThreadingHTTPServer):
    """A service that answers as it is told to: the next of `answers`, or ok."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.bodies: list[list[Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"]
        with self.server.lock:
            self.server.bodies.append(events)
            status, answer = self.server.answers.pop(0) if self.server.answers else (200, {"status": "ok"})
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def run(service: Service, *lines: Any, name: str = "events.jsonl", folder: Path) -> Result:
    path = folder / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return CliRunner().invoke(main, ["import", str(path), "--url", service.url, "--api-key", "sk_live_x"])


def test_a_file_is_sent_whole_in_batches_of_a_hundred(service: Service, tmp_path: Path) -> None:
    events = [{**GOOD, "properties": {"n": n}} for n in range(1234)]
    result = run(service, *events, folder=tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1,234 events taken, 0 lines refused" in result.stdout
    assert sorted(len(batch) for batch in service.bodies) == [34] + [100] * 12
    assert sorted(event["properties"]["n"] for batch in service.bodies for event in batch) == list(range(1234))


def test_refused_lines_are_told_with_their_numbers(service: Service, tmp_path: Path) -> None:
    rejected = {"rejected": [{"index": 1, "field": "event", "code": "event_invalid", "message": "no name"}]}
    service.answers = [(207, rejected)]
    result = run(service, GOOD, "nonsense", {"event": ""}, GOOD, folder=tmp_path)
    assert result.exit_code == 1
    assert "2 events taken, 2 lines refused" in result.stdout
    assert ":2: not a JSON object" in result.stderr
    assert ":3: no name" in result.stderr


def test_what_cannot_be_taken_now_is_sent_again(service: Service, tmp_path: Path) -> None:
    service.answers = [(503, {"message": "full"}), (429, {"message": "slow"}), (500, {})]
    result = run(service, GOOD, folder=tmp_path)
    assert result.exit_code == 0
    assert len(service.bodies) == 4


def test_a_batch_that_is_too_large_is_halved(service: Service, tmp_path: Path) -> None:
    service.answers = [(413, {"message": "over 4 MiB"}), (413, {"message": "over 4 MiB"})]
    result = run(service, GOOD, GOOD, folder=tmp_path)
    assert "1 events taken, 1 lines refused" in result.stdout
    assert ":1: over 4 MiB" in result.stderr


@pytest.mark.parametrize(("status", "message"), [(401, "This API key is unknown"), (404, "nothing here")])
def test_a_refusal_for_good_ends_the_import(service: Service, tmp_path: Path, status: int, message: str) -> None:
    service.answers = [(status, {"message": message})] * 20
    result = run(service, GOOD, folder=tmp_path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_running_service_it_says_how_to_start_one(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("{}")
    result = CliRunner().invoke(main, ["import", str(path), "--data-dir", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "windback up" in result.stderr


def test_a_wrong_url_is_told(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("{}")
    result = CliRunner().invoke(main, ["import", str(path), "--url", "localhost:8000", "--api-key", "x"])
    assert (result.exit_code, "not the URL" in result.stderr) == (1, True)


def test_a_service_that_never_answered_is_given_up_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rather the wrong address than one that restarts."""
    monkeypatch.setattr("api.commands.client.NEVER_ANSWERED_SECONDS", 0.1)
    path = tmp_path / "x.jsonl"
    path.write_text('{"event": "login", "customer_email": "jane@example.com"}')
    result = CliRunner().invoke(main, ["import", str(path), "--url", "http://127.0.0.1:1", "--api-key", "x"])
    assert (result.exit_code, "http://127.0.0.1:1 can't do it: " in result.stderr) == (1, True)
