"""The search for the node of a cluster that owns a slot, without any server."""

import pytest

from workers.cluster import KEY_MARK, Address, Cluster, describe_server, find_cluster, share_server

A, B, C = ("a", 1), ("b", 2), ("c", 3)
Answers = dict[Address, Address | Exception | None]


def visit(cluster: Cluster, answers: Answers) -> list[Address]:
    """Returns the addresses that a search visits. Raises its error."""
    search = cluster.search("key")
    visited = [next(search)]
    try:
        while True:
            visited.append(search.send(answers[visited[-1]]))
    except StopIteration:
        return visited


def test_a_node_that_sends_us_on_is_followed() -> None:
    cluster = Cluster([A])
    assert visit(cluster, {A: B, B: C, C: None}) == [A, B, C]
    assert cluster.owners == {"key": C}
    assert visit(cluster, {A: ConnectionError(), B: None}) == [A, B]  # it was learnt


def test_a_node_without_a_host_is_the_same_host() -> None:
    assert visit(Cluster([A]), {A: ("", 7), ("a", 7): None}) == [A, ("a", 7)]


def test_a_node_that_fails_is_the_last_to_be_asked_again() -> None:
    cluster = Cluster([A, B])
    assert visit(cluster, {A: OSError(), B: None}) == [A, B]
    assert visit(cluster, {B: None}) == [B]


def test_a_node_that_hangs_until_we_give_up_is_the_last_to_be_asked_again() -> None:
    cluster = Cluster([A, B])
    search = cluster.search("key")
    assert next(search) == A
    search.close()
    assert visit(cluster, {B: None}) == [B]


def test_while_the_owner_is_away_the_search_fails() -> None:
    cluster = Cluster([A, B])
    with pytest.raises(OSError, match="away"):
        visit(cluster, {A: C, B: C, C: OSError("away")})
    assert visit(cluster, {A: B, B: None}) == [A, B]


def test_nodes_that_disagree_are_not_followed_for_ever() -> None:
    with pytest.raises(ConnectionError, match="disagree"):
        visit(Cluster([A]), {A: B, B: A})


def test_all_nodes_of_an_answer_are_learnt() -> None:
    cluster = Cluster([A])
    cluster.learn_slots([[0, 9, [b"b", 2, b"id"], [b"", 3, b"id"]], [10, 19, [None, 4, b"id"]]], "a")
    assert visit(cluster, {A: OSError(), B: OSError(), ("a", 3): OSError(), ("a", 4): None})[-1] == ("a", 4)


def test_cells_of_one_node_share_it() -> None:
    urls = "redis://:secret@x:1 redis://:secret@y:2"
    one, two, three = (f"{urls}{KEY_MARK}{name}" for name in ("one", "two", "three"))
    find_cluster(urls).owners.update({"one": A, "two": A, "three": B})
    assert (share_server(one, two), share_server(one, three), share_server(one, f"{urls}#new")) == (True, False, False)
    assert (share_server("redis://x", "redis://x"), share_server("redis://x", "redis://y")) == (True, False)
    assert describe_server(three) == "b:2 of the cluster"
    assert describe_server(f"{urls}{KEY_MARK}new") == "x:1 y:2"
    assert describe_server("redis://:secret@x/0?a=b") == "x:6379"
    assert describe_server("unix:///run/redis.sock") == "/run/redis.sock"


def test_a_single_server_is_shared_by_all() -> None:
    url = "redis://single:1"
    find_cluster(url).is_plain = True
    assert share_server(f"{url}#one", f"{url}#two")
    assert describe_server(f"{url}#one") == "single:1"
