from __future__ import annotations

from collections.abc import Collection

import msgspec
import pytest
from redis import Redis
from structlog.testing import capture_logs

from ingest.errors import MailboxUnreadable, RegistryError, StoreUnavailable
from ingest.model import Mailbox, Submission
from ingest.state.commands import Commands
from ingest.state.registry import Registry, new_mailbox_id
from tests.fakes.mail_values import mailbox
from tests.fakes.memory_store import MemoryStore
from tests.servers.valkey import make_whole


def changed(original: Mailbox, **fields: object) -> Mailbox:
    return msgspec.structs.replace(original, **fields)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(client: Redis, store: MemoryStore) -> Registry:
    return Registry(client, store)


def test_a_new_id_is_random_and_fits_into_a_key() -> None:
    ids = {new_mailbox_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(one) == 19 and one.startswith("mb-") and one == one.lower() for one in ids)


def test_a_mailbox_is_found_by_name_and_by_id_and_stands_in_the_store(
    registry: Registry, store: MemoryStore
) -> None:
    one = registry.add(mailbox("a"))
    assert registry.get("a") == registry.get("A") == registry.get("mb-a") == one
    assert msgspec.json.decode(store.objects["mailboxes/mb-a.json"], type=Mailbox) == one


def test_mailboxes_are_listed_by_their_names(registry: Registry) -> None:
    for name in "cab":
        registry.add(mailbox(name))
    assert [one.name for one in registry.list()] == ["a", "b", "c"]


def test_an_unknown_mailbox_is_named_with_what_to_do(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="no mailbox 'x'") as caught:
        registry.get("x")
    assert caught.value.remedy
    with pytest.raises(RegistryError, match="no mailbox 'mb-x'"):
        registry.remove(mailbox("x"))
    with pytest.raises(RegistryError):
        registry.update(mailbox("x"), seen=mailbox("x"))


def test_the_same_account_or_name_twice_is_refused_naming_the_one_there_is(
    registry: Registry, store: MemoryStore
) -> None:
    one = registry.add(mailbox("a"))
    account = changed(one, id="mb-b", name="b", username="A@Example.Org")
    with pytest.raises(RegistryError, match=r"'a' \(mb-a\) has the account"):
        registry.add(account)
    with pytest.raises(RegistryError, match=r"'a' \(mb-a\) has the name"):
        registry.add(changed(one, id="mb-b", name="A", username="other"))
    with pytest.raises(RegistryError, match="mb-a exists"):
        registry.add(one)
    assert list(store.objects) == ["mailboxes/mb-a.json"]
    assert "example" not in "".join(store.objects).lower()
    registry.add(changed(account, port=110))


def test_a_changed_mailbox_gives_its_old_name_and_account_free(registry: Registry) -> None:
    one = registry.add(mailbox("a"))
    registry.update(changed(one, name="renamed", username="other"), seen=one)
    assert registry.get("renamed").username == "other"
    with pytest.raises(RegistryError):
        registry.get("a")
    registry.add(changed(one, id="mb-new"))


def test_a_refused_change_leaves_the_store_as_it_was(
    registry: Registry, store: MemoryStore
) -> None:
    registry.add(mailbox("a"))
    two = registry.add(mailbox("b"))
    before = dict(store.objects)
    with pytest.raises(RegistryError):
        registry.update(changed(two, name="a"), seen=two)
    assert store.objects == before


def test_of_two_that_add_the_same_account_at_once_one_is_refused_and_undone(
    client: Redis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = Registry(client, store), Registry(client, store)
    one = mailbox("a")
    monkeypatch.setattr(slow, "_refuse_taken", lambda _: quick.add(one))
    with pytest.raises(RegistryError, match="mb-a"):
        slow.add(changed(one, id="mb-b", name="b"))
    assert list(store.objects) == ["mailboxes/mb-a.json"]


def test_a_change_refused_at_the_last_moment_gives_the_store_back_what_it_had(
    registry: Registry, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(mailbox("a"))
    two = registry.add(mailbox("b"))
    before = dict(store.objects)
    monkeypatch.setattr(registry, "_refuse_taken", lambda _: None)
    with pytest.raises(RegistryError):
        registry.update(changed(two, name="a"), seen=two)
    assert store.objects == before


def test_of_two_changes_at_once_the_first_stands_and_the_other_is_refused(
    client: Redis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = Registry(client, store), Registry(client, store)
    one = quick.add(mailbox("a"))
    monkeypatch.setattr(
        slow, "_refuse_taken", lambda _: quick.update(changed(one, name="quick"), seen=one)
    )
    with pytest.raises(RegistryError, match="meanwhile") as caught:
        slow.update(changed(one, name="slow"), seen=one)
    assert caught.value.remedy
    assert [box.name for box in quick.list()] == ["quick"]
    assert slow.restore() == ([], [])
    for name in ("a", "slow"):
        quick.add(changed(one, id=f"mb-new-{name}", name=name, username=name))


def test_what_was_changed_since_it_was_seen_is_not_changed_unseen(registry: Registry) -> None:
    one = registry.add(mailbox("a"))
    registry.update(changed(one, delete="never"), seen=one)
    with pytest.raises(RegistryError, match="meanwhile"):
        registry.update(changed(one, paused="by a worker"), seen=one)
    assert registry.get("a") == changed(one, delete="never")


@pytest.mark.parametrize("lost", [False, True])
def test_a_mailbox_removed_while_it_is_changed_stays_removed_unless_redis_lost_it(
    client: Redis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    make_whole(client)
    person, worker = Registry(client, store), Registry(client, store)
    one = person.add(mailbox("a"))
    meanwhile = client.flushall if lost else lambda: person.remove(one)
    monkeypatch.setattr(worker, "_refuse_taken", lambda _: meanwhile())
    with pytest.raises(RegistryError):
        worker.update(changed(one, paused="by a worker"), seen=one)
    assert person.list() == []
    person.restore()
    assert person.list() == ([one] if lost else [])


def test_a_mailbox_changed_since_it_was_seen_is_not_removed(
    registry: Registry, store: MemoryStore
) -> None:
    one = registry.add(mailbox("a"))
    two = registry.update(changed(one, delete="never"), seen=one)
    with pytest.raises(RegistryError, match="meanwhile"):
        registry.remove(one)
    assert registry.list() == [two]
    assert list(store.objects) == ["mailboxes/mb-a.json"]


@pytest.mark.parametrize("late", [False, True])
def test_a_mailbox_changed_while_it_is_removed_stays_as_it_was_changed(
    client: Redis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    person, worker = Registry(client, store), Registry(client, store)
    one = person.add(mailbox("a"))
    two = changed(one, paused="by a worker")
    delete = store.delete

    def slowly(keys: Collection[str]) -> None:
        if late:
            delete(keys)
        if worker.list() == [one]:
            worker.update(two, seen=one)
        if not late:
            delete(keys)

    monkeypatch.setattr(store, "delete", slowly)
    with pytest.raises(RegistryError, match="meanwhile"):
        person.remove(one)
    assert person.list() == [two]
    assert msgspec.json.decode(store.objects["mailboxes/mb-a.json"], type=Mailbox) == two


def test_a_change_while_mailboxes_are_read_back_stands(
    client: Redis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, worker = Registry(client, store), Registry(client, store)
    one = person.add(mailbox("a"))
    store.put("mailboxes/mb-a.json", msgspec.json.encode(changed(one, tenant="older")))
    read = worker._read
    new = changed(one, delete="never")

    def slowly(key: str) -> tuple[Mailbox, bytes]:
        found = read(key)
        if person.get("a") == one:
            person.update(new, seen=one)
        return found

    monkeypatch.setattr(worker, "_read", slowly)
    worker.restore()
    assert person.get("a") == new


def test_a_mailbox_added_while_the_store_was_listed_is_not_taken_for_a_removed_one(
    registry: Registry, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = registry.add(mailbox("a"))
    monkeypatch.setattr(store, "list", lambda _: iter(()))
    assert registry.restore() == ([], [])
    assert registry.list() == [one]


def test_where_the_store_fails_redis_does_not_know_the_mailbox(
    registry: Registry, store: MemoryStore
) -> None:
    store.fail("put", StoreUnavailable("down"))
    with pytest.raises(StoreUnavailable):
        registry.add(mailbox("a"))
    assert registry.list() == []


def test_a_removed_mailbox_is_gone_and_its_account_can_be_added_again(
    registry: Registry, store: MemoryStore
) -> None:
    one = registry.add(mailbox("a"))
    registry.remove(one)
    assert store.objects == {}
    assert registry.list() == []
    registry.add(changed(one, id="mb-b"))


def test_an_empty_redis_gets_the_mailboxes_of_the_store(client: Redis, registry: Registry) -> None:
    mailboxes = [registry.add(mailbox(name)) for name in "ab"]
    client.flushall()
    assert registry.restore() == ([], [])
    assert registry.list() == mailboxes
    with pytest.raises(RegistryError):
        registry.add(changed(mailboxes[0], id="mb-c"))


def test_a_rolled_back_redis_is_made_equal_to_the_store(
    registry: Registry, store: MemoryStore
) -> None:
    removed, edited = registry.add(mailbox("a")), registry.add(mailbox("b"))
    store.delete(["mailboxes/mb-a.json"])
    store.put("mailboxes/mb-b.json", msgspec.json.encode(changed(edited, name="new")))
    restored = registry.restore()
    assert [one.id for one in restored.removed] == [removed.id]
    assert [one.group for one in restored.removed] == [removed.group]
    assert restored.refused == []
    assert [one.name for one in registry.list()] == ["new"]


@pytest.mark.parametrize("removed", [False, True])
def test_a_mailbox_of_the_store_is_known_though_redis_remembers_another_by_its_account(
    registry: Registry, store: MemoryStore, *, removed: bool
) -> None:
    """Redis was rolled back to before the other one was changed, or removed."""
    before = registry.add(changed(mailbox("a"), id="mb-z"))
    after = [] if removed else [changed(before, name="old", username="old")]
    after.append(changed(before, id="mb-b"))
    store.objects.clear()
    for one in after:
        store.put(f"mailboxes/{one.id}.json", msgspec.json.encode(one))
    restored = registry.restore()
    assert [one.id for one in restored.removed] == ["mb-z"] * removed
    assert restored.refused == []
    assert {one.id: one.name for one in registry.list()} == {one.id: one.name for one in after}
    assert registry.get("a").id == "mb-b"


def test_an_object_that_is_no_mailbox_holds_up_no_other(
    registry: Registry, store: MemoryStore
) -> None:
    store.put("mailboxes/mb-0.json", b"{")
    store.put("mailboxes/mb-1.json", msgspec.json.encode(mailbox("a")))
    store.put("mailboxes/mb-b.json", msgspec.json.encode(mailbox("b")))
    store.put("mailboxes/mb-c.json", msgspec.json.encode(changed(mailbox("b"), id="mb-c")))
    restored = registry.restore()
    assert [one.id for one in registry.list()] == ["mb-b"]
    assert [sentence.split(":")[0] for sentence in restored.refused] == [
        "mailboxes/mb-0.json",
        "mailboxes/mb-1.json",
        "mailboxes/mb-c.json",
    ]


def of_a_newer_version(one: Mailbox) -> bytes:
    fields = msgspec.json.decode(msgspec.json.encode(one))
    return msgspec.json.encode({**fields, "colour": {"red": 1}})


def test_what_a_newer_version_says_of_a_mailbox_survives_a_change_by_this_one(
    registry: Registry, store: MemoryStore, client: Redis
) -> None:
    one = registry.add(mailbox("a"))
    run = Commands(client).run
    run("HSET", "mail-ingest:mailboxes", "mb-a", of_a_newer_version(one))
    registry.update(changed(one, delete="never"), seen=one)
    assert registry.get("a").delete == "never"
    stored = msgspec.json.decode(store.objects["mailboxes/mb-a.json"])
    assert (stored["colour"], stored["delete"]) == ({"red": 1}, "never")
    assert run("HGET", "mail-ingest:mailboxes", "mb-a") == store.objects["mailboxes/mb-a.json"]


def test_what_a_newer_version_says_within_a_setting_survives_a_change_of_another(
    registry: Registry, store: MemoryStore, client: Redis
) -> None:
    canary = Submission(host="smtp.example.org", port=465, sender="a@b.org", recipient="c@d.org")
    one = registry.add(changed(mailbox("a"), canary=canary))
    newer = msgspec.json.decode(msgspec.json.encode(one))
    newer["canary"]["colour"] = "red"
    Commands(client).run("HSET", "mail-ingest:mailboxes", "mb-a", msgspec.json.encode(newer))
    two = registry.update(changed(one, paused="refused"), seen=one)
    stored = msgspec.json.decode(store.objects["mailboxes/mb-a.json"])
    assert stored == {**newer, "paused": "refused"}
    registry.update(changed(two, canary=None), seen=two)
    assert msgspec.json.decode(store.objects["mailboxes/mb-a.json"])["canary"] is None


def test_what_a_newer_version_says_of_a_mailbox_survives_a_restoration_by_this_one(
    registry: Registry, store: MemoryStore, client: Redis
) -> None:
    newer = of_a_newer_version(mailbox("a"))
    store.put("mailboxes/mb-a.json", newer)
    registry.restore()
    assert registry.list() == [mailbox("a")]
    assert Commands(client).run("HGET", "mail-ingest:mailboxes", "mb-a") == newer


UNREADABLE: dict[str, dict[str, object]] = {
    "an encryption of tomorrow": {"tls": "quantum"},
    "a rule of tomorrow": {"delete": "after mass"},
    "another kind of setting": {"port": 995, "paused": {"until": 2030}},
}


@pytest.fixture(params=UNREADABLE)
def unreadable(request: pytest.FixtureRequest, registry: Registry, store: MemoryStore) -> bytes:
    """Settings of the mailbox `a` that this version can't read; `b` is beside it."""
    fields = msgspec.json.decode(msgspec.json.encode(mailbox("a")))
    settings = msgspec.json.encode({**fields, **UNREADABLE[request.param]})
    store.put("mailboxes/mb-a.json", settings)
    store.put("mailboxes/mb-b.json", msgspec.json.encode(mailbox("b")))
    registry.restore()
    return settings


def test_a_mailbox_that_this_version_can_not_read_holds_up_no_other_and_is_said(
    registry: Registry, unreadable: bytes
) -> None:
    del unreadable
    with capture_logs() as logs:
        assert registry.list() == [mailbox("b")]
    assert [(line["event"], line["mailbox"]) for line in logs] == [("mailbox_unreadable", "mb-a")]
    (said,) = registry.unreadable()
    assert str(said).startswith("mailbox 'a' (mb-a) has settings that this version can't read: ")
    for ask in ("a", "mb-a"):
        with pytest.raises(MailboxUnreadable):
            registry.get(ask)


def test_a_mailbox_that_this_version_can_not_read_is_left_as_it_is(
    registry: Registry, store: MemoryStore, client: Redis, unreadable: bytes
) -> None:
    one = mailbox("a")
    for refused in (
        lambda: registry.add(changed(mailbox("c"), name="a")),
        lambda: registry.update(changed(one, delete="never"), seen=one),
        lambda: registry.remove(one),
    ):
        with pytest.raises(RegistryError, match="mailbox 'a'"):
            refused()
    client.flushall()
    assert registry.restore() == ([], [])
    assert set(registry.ids()) == {"mb-a", "mb-b"}
    assert store.objects["mailboxes/mb-a.json"] == unreadable
    assert Commands(client).run("HGET", "mail-ingest:mailboxes", "mb-a") == unreadable


def test_a_mailbox_that_this_version_can_not_read_is_gone_where_the_store_has_it_no_more(
    registry: Registry, store: MemoryStore, unreadable: bytes
) -> None:
    del unreadable
    store.delete(["mailboxes/mb-a.json"])
    assert [one.group for one in registry.restore().removed] == [mailbox("a").group]
    assert set(registry.ids()) == {"mb-b"}
    registry.add(mailbox("a"))


def test_octets_in_redis_that_are_no_mailbox_hold_up_no_other_and_are_put_right(
    registry: Registry, client: Redis
) -> None:
    one = registry.add(mailbox("a"))
    Commands(client).run("HSET", "mail-ingest:mailboxes", "mb-a", b"{", "mb-x", b"[]")
    assert registry.list() == []
    assert len(registry.unreadable()) == 2
    assert registry.restore() == ([], [])
    assert registry.list() == [one]
