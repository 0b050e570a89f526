import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import main

GOOD = {"event": "login", "customer_email": "a@b.cd", "timestamp": "2026-01-05T10:00:00Z"}


class Service(ThreadingHTTPServer):
    """A service that answers as it is told to: the next of `answers`, or ok."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.bodies: list[list[Any]] = []
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
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
            self.server.asked.append((self.path, dict(self.headers)))
            status, answer = self.server.answers.pop(0) if self.server.answers else (200, {"status": "ok"})
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
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
    rejected = [{"index": 1, "field": "event", "code": "event_invalid", "message": "no name"}]
    service.answers = [(207, {"status": "partial", "accepted": 2, "rejected": rejected})]
    result = run(service, GOOD, "nonsense", GOOD, GOOD, folder=tmp_path)
    assert result.exit_code == 1
    assert "2 events taken, 2 lines refused" in result.stdout
    assert ":2: not a JSON object" in result.stderr
    assert ":3: no name" in result.stderr


def test_lines_refused_for_one_reason_are_shown_together(service: Service, tmp_path: Path) -> None:
    bad = [GOOD | {"timestamp": f"1/{day}/2026"} for day in range(1, 9)]
    result = run(service, *bad, "nonsense", folder=tmp_path)
    assert "0 events taken, 9 lines refused" in result.stdout
    first, more, other = result.stderr.splitlines()
    assert first.endswith(":1: `timestamp` is '1/1/2026'; say if the day or the month comes first.")
    assert more == "  … and 7 more lines: 2, 3, 4, 5, 6, …"
    assert ":9: not a JSON object" in other


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 505, 507, 520, 522, 524, 529, 530, 599, 408, 425, 429])
def test_what_cannot_be_taken_now_is_sent_again(service: Service, tmp_path: Path, status: int) -> None:
    service.answers = [(status, {"message": "full"}), (status, "<html>")]
    result = run(service, GOOD, folder=tmp_path)
    assert (result.exit_code, len(service.bodies)) == (0, 3)
    assert "trying again" in result.stderr


@pytest.mark.parametrize("status", [501, 502, 503, 504, 520])
def test_a_file_that_is_wrong_later_keeps_what_was_read(service: Service, tmp_path: Path, status: int) -> None:
    rows = ["event,customer_email,timestamp,note", *["login,a@b.cd,2026-01-05,"] * 250, 'login,a@b.cd,2026-01-05,"open']
    service.answers = [(status, {})]
    result = run(service, *rows, "login,a@b.cd,2026-01-05,", name="x.csv", folder=tmp_path)
    assert result.exit_code == 1
    assert "250 events taken" in result.stdout
    assert "x.csv:252: a quoted cell is never closed" in result.stderr
    assert "Idle" not in result.stderr


TOO_LARGE = {"status": "error", "code": "payload_too_large", "message": "over 4 MiB"}


def test_a_batch_that_is_too_large_is_halved(service: Service, tmp_path: Path) -> None:
    service.answers = [(413, TOO_LARGE), (413, TOO_LARGE)]
    result = run(service, GOOD, GOOD, folder=tmp_path)
    assert "1 event taken, 1 line refused" in result.stdout
    assert ":1: over 4 MiB" in result.stderr


def test_a_proxys_limit_is_not_the_lines_fault(service: Service, tmp_path: Path) -> None:
    service.answers = [(413, "<html>")] * 20
    result = run(service, GOOD, GOOD, folder=tmp_path)
    assert (result.exit_code, "client_max_body_size" in result.stderr) == (1, True)


REJECTED = {"index": 0, "field": "event", "code": "event_invalid", "message": "no"}


NOT_OK: list[Any] = [
    "<html>Sign in</html>",
    "",
    "OK",
    '"ok"',
    [],
    None,
    {"ok": True},
    {"status": "error"},
    {"status": "ok", "more": 1},
]
NOT_PARTIAL: list[Any] = [
    "<html>",
    {},
    {"status": "partial", "accepted": 3, "rejected": []},
    {"status": "partial", "accepted": 2, "rejected": "text"},
    {"status": "partial", "accepted": 2, "rejected": [{**REJECTED, "index": 7}]},
    {"status": "partial", "accepted": 1, "rejected": [REJECTED, REJECTED]},
]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        *((200, not_ok) for not_ok in NOT_OK),
        *((207, not_partial) for not_partial in NOT_PARTIAL),
        *((422, other) for other in ({"status": "invalid"}, "<html>")),
        (201, {}),
        (204, ""),
        (404, "<html>"),
        (403, {"error": "forbidden"}),
    ],
)
def test_only_our_own_answer_is_a_yes(service: Service, tmp_path: Path, status: int, answer: Any) -> None:
    service.answers = [(status, answer)] * 20
    result = run(service, GOOD, GOOD, GOOD, folder=tmp_path)
    assert result.exit_code == 1
    assert "taken" not in result.stdout
    assert "not as Windback does" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_named(service: Service, tmp_path: Path, status: int) -> None:
    service.answers = [(status, "")]
    service.headers = {"Location": "https://there.example/api"}
    result = run(service, GOOD, folder=tmp_path)
    assert (result.exit_code, "redirects to https://there.example/api" in result.stderr) == (1, True)


def test_a_batch_of_which_nothing_is_valid_is_reported(service: Service, tmp_path: Path) -> None:
    service.answers = [(422, {"status": "error", "code": "invalid_event", "message": "no", "rejected": [REJECTED]})]
    result = run(service, GOOD, folder=tmp_path)
    assert "0 events taken, 1 line refused" in result.stdout


@pytest.mark.parametrize(
    ("status", "message"), [(400, "Unread"), (401, "This API key is unknown"), (403, "No"), (404, "nothing here")]
)
def test_a_refusal_for_good_ends_the_import(service: Service, tmp_path: Path, status: int, message: str) -> None:
    service.answers = [(status, {"status": "error", "code": "x", "message": message})] * 20
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
    path.write_text(json.dumps(GOOD))
    result = CliRunner().invoke(main, ["import", str(path), "--url", "http://127.0.0.1:1", "--api-key", "x"])
    assert (result.exit_code, "http://127.0.0.1:1 failed: " in result.stderr) == (1, True)


def invoke(tmp_path: Path, url: str, key: str, **environment: str) -> Result:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD))
    return CliRunner().invoke(main, ["import", str(path), "--url", url, "--api-key", key], env=environment)


@pytest.mark.parametrize("key", ["sk_live_abc\n", " sk_live_abc\r\n"])
def test_a_key_is_stripped(service: Service, tmp_path: Path, key: str) -> None:
    assert invoke(tmp_path, service.url, key).exit_code == 0
    assert service.asked[0][1]["X-API-Key"] == "sk_live_abc"


@pytest.mark.parametrize("key", ["sk_live_abc\nsk_live_def", "sk_live_€", "sk_live_a b", "\x00"])
@pytest.mark.parametrize("command", ["import", "demo"])
def test_what_cannot_be_a_key_is_refused_unseen(tmp_path: Path, key: str, command: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD))
    arguments = [
        command,
        *([str(path)] if command == "import" else []),
        "--url",
        "http://127.0.0.1:1",
        "--api-key",
        key,
    ]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, "sk_live_" in result.stderr) == (1, False)
    assert result.stderr.startswith("Error: the API key is not one")


def test_a_key_may_stand_in_a_file(service: Service, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk_live_file\n")
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD))
    environment = {"WINDBACK_API_KEY_FILE": str(tmp_path / "key"), "WINDBACK_URL": service.url}
    assert CliRunner().invoke(main, ["import", str(path)], env=environment).exit_code == 0
    assert service.asked[0][1]["X-API-Key"] == "sk_live_file"


def test_user_and_password_of_the_url_are_used_and_not_shown(service: Service, tmp_path: Path) -> None:
    url = service.url.replace("//", "//ann:hid%40den@")
    result = invoke(tmp_path, url, "sk_live_x")
    assert service.asked[0][1]["Authorization"] == f"Basic {base64.b64encode(b'ann:hid@den').decode()}"
    assert "hid" not in result.output
    assert "hid" not in invoke(tmp_path, "ftp://ann:hidden@x", "sk_live_x").output
    assert "hid" not in invoke(tmp_path, "http://ann:hid/den@x", "sk_live_x").output


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_asked(service: Service, tmp_path: Path, name: str) -> None:
    proxy = service.url.replace("//", "//ann:hidden@")
    result = invoke(tmp_path, "http://windback.internal/below", "sk_live_x", **{name: proxy})
    assert result.exit_code == 0, result.output
    (path, headers) = service.asked[0]
    assert path == "http://windback.internal/below/api/v1/track"
    assert (headers["Host"], headers["Proxy-Authorization"][:6]) == ("windback.internal", "Basic ")


@pytest.mark.parametrize("excepted", ["127.0.0.1", "*", "example.com,127.0.0.1"])
def test_no_proxy_excepts_hosts(service: Service, tmp_path: Path, excepted: str) -> None:
    result = invoke(tmp_path, service.url, "sk_live_x", HTTP_PROXY="http://127.0.0.1:1", NO_PROXY=excepted)
    assert result.exit_code == 0, result.output
    assert service.asked[0][0] == "/api/v1/track"


def test_servers_of_ones_own_are_not_those_of_the_data_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD))
    environment = {"DATABASE_URL": "postgresql://h/x", "WINDBACK_DATA_DIR": str(tmp_path)}
    result = CliRunner().invoke(main, ["import", str(path)], env=environment)
    assert (result.exit_code, "--url" in result.stderr) == (1, True)
