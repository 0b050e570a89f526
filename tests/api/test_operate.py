from redis import Redis
from starlette.testclient import TestClient


def test_a_running_process_is_healthy(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_when_events_can_be_taken(client: TestClient) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.json()["detail"]) == (200, {"redis": "ok", "postgres": "ok"})


def test_a_redis_that_may_evict_the_buffer_is_not_ready(client: TestClient, redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        response = client.get("/readyz")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert response.status_code == 503
    assert "noeviction" in response.json()["message"]


def test_a_redis_that_does_not_take_writes_is_not_ready(client: TestClient, redis: Redis) -> None:
    redis.client_pause(1500, all=False)
    assert client.get("/readyz").status_code == 503
    redis.client_unpause()
    assert client.get("/readyz").status_code == 200
