from workers.alerts.schedule import pause_after


def test_pauses_grow_to_an_hour() -> None:
    for attempts, seconds in ((1, 10), (2, 60), (3, 300), (4, 1800), (5, 3600), (70, 3600)):
        pauses = [pause_after(attempts) for _ in range(50)]
        assert min(pauses) >= seconds
        assert max(pauses) <= seconds * 1.1
        assert len(set(pauses)) > 1
