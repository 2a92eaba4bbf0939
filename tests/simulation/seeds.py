"""What a seed makes: settings, mailboxes, servers with their habits, and mail."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

from ingest.model import Mailbox
from ingest.settings import Settings
from tests.simulation.faults import Kind
from tests.simulation.mail import (
    BREAKS_PARSER,
    KILLS_PARSER,
    POOL,
    PRIVATE,
    Message,
    message,
    poison,
)
from tests.simulation.patches import PASSWORD_VARIABLE
from tests.simulation.pop3 import Habits, Server
from tests.simulation.world import Hint, World

_CAPABILITIES = (
    None,
    ("TOP", "UIDL", "USER"),
    ("TOP", "UIDL", "SASL PLAIN", "PIPELINING", "RESP-CODES"),
    ("UIDL", "PIPELINING", "LOGIN-DELAY 5"),
)
_MANY = 1000
_RULES = (
    *("committed", "committed", "committed", "published", "published"),
    *("never", "shadow", "after 40s", "after 3m"),
)
_UNIQUE_IDS: Sequence[Literal["kept", "unique-ids reused", "unique-ids renumbered"]] = (
    *("kept", "kept", "kept", "kept"),
    *("unique-ids reused", "unique-ids renumbered"),
)
_DOUBLING: set[Kind] = {"Redis command sent twice"}


def world_of(chance: random.Random, run_task: Callable[[Hint], object]) -> World:
    """An empty world."""
    return World(chance, _settings(chance), chance.randint(1, 2), run_task)


def populate(world: World) -> None:
    """Workers, mailboxes, and the first messages."""
    chance = world.chance
    for _ in range(chance.randint(1, 3)):
        world.start()
    application = world.member.application
    for number in range(chance.randint(1, 3)):
        habits = _habits(world)
        mailbox = _mailbox(number, world, habits)
        server = Server(
            mailbox.id,
            habits=habits,
            faults=world.faults,
            chance=chance,
            scheduler=world.scheduler,
            observer=world.witness,
        )
        server.rule = mailbox.delete
        world.serve(mailbox.port, server)
        application.registry.add(mailbox)
        for _ in range(chance.choice((0, 1, 2, 3, 7))):
            deliver(world, server)
    application.prepare()


def deliver(world: World, server: Server) -> None:
    """One more message arrives."""
    unique_id = _unique_id(world, server)
    # Attempts are counted by unique-id: without a lasting one, what kills its reader does so for
    # ever.
    lasting = server.habits.knows_uidl and server.habits.unique_ids == "kept"
    fresh = all(held.unique_id != unique_id for held in server.messages)
    countable = unique_id is not None and lasting and fresh
    delivered = _message(world, server, countable=countable)
    world.witness.delivered_to(server.mailbox, delivered)
    server.deliver(delivered, unique_id)


def _settings(chance: random.Random) -> Settings:
    return Settings(
        home="nowhere",
        metrics_port=0,
        redis_url="redis://simulated",
        store="s3://simulated",
        extract_from=chance.choice((0, 300, 1500)),
        extract_text_from=chance.choice((300, 5000, 1_000_000)),
        batch_messages=chance.choice((1, 2, 500)),
        batch_octets=chance.choice((3000, 1_000_000)),
        batch_milliseconds=chance.choice((5, 5000)),
        strict_evidence=chance.random() < 0.1,
        session_messages=chance.choice((1, 3, _MANY, _MANY)),
        session_seconds=chance.choice((20, 900)),
        poll_seconds=20,
        poll_seconds_max=300,
        group_slots=chance.choice((1, 3)),
        lease_seconds=30,
    )


def _mailbox(number: int, world: World, habits: Habits) -> Mailbox:
    chance = world.chance
    # What stays and has no lasting unique-id is retrieved again by every session. A session that
    # starts few messages would get no further than these.
    limited = world.settings.session_messages < _MANY
    rule = "committed" if limited else chance.choice(_RULES)
    if rule == "shadow" and habits.hides:
        rule = "never"  # a rehearsal would be the last that is seen of a message
    return Mailbox(
        id=f"mb-{number}",
        name=f"box {number}",
        host=f"pop{chance.randint(0, 1)}.example.org",
        port=1100 + number,
        tls="none",
        username=f"{PRIVATE}-{number}@example.org",
        password=f"env:{PASSWORD_VARIABLE}",
        delete=rule,
    )


def _habits(world: World) -> Habits:
    chance = world.chance
    lies = chance.choice((None,) * 4 + (_always(0), _always(700), _more_or_less(chance)))
    if lies:
        world.faults.struck["sizes lied about"] += 1
    unique_ids = chance.choice(_UNIQUE_IDS)
    if unique_ids != "kept":
        world.faults.struck[unique_ids] += 1
    hides = chance.random() < 0.3
    # A message that was tried too often is taken to be as it comes, and may then be hidden.
    doubling = hides and world.faults.has(_DOUBLING)
    return Habits(
        capabilities=chance.choice(_CAPABILITIES),
        knows_uidl=chance.random() < 0.95,
        exclusive=chance.random() < 0.7,
        hides=hides,
        unique_ids=unique_ids,
        lies=lies,
        may_cut=_never if lies or doubling else _at_first if hides else _always_so,
        chunk=chance.choice((3000, 65536)),
    )


def _never(_: int) -> bool:
    return False


def _at_first(session: int) -> bool:
    return session <= 2


def _always_so(_: int) -> bool:
    return True


def _always(octets: int) -> Callable[[int], int]:
    return lambda _: octets


def _more_or_less(chance: random.Random) -> Callable[[int], int]:
    return lambda octets: max(0, octets + chance.randint(-50, 2 * octets))


def _message(world: World, server: Server, *, countable: bool) -> Message:
    chance = world.chance
    if server.messages and chance.random() < 0.1:
        again = chance.choice(server.messages).message
        if countable or not again.poison:
            world.faults.struck["same octets again"] += 1
            return again
    number = chance.randrange(POOL)
    if chance.random() < 0.06:
        return poison(number, chance.choice((BREAKS_PARSER, KILLS_PARSER)[: 1 + countable]))
    return message(number)


def _unique_id(world: World, server: Server) -> str | None:
    chance = world.chance
    drawn = chance.random()
    if drawn < 0.06:
        world.faults.struck["unique-id missing"] += 1
        return None
    doubled = chance.choice(server.messages) if drawn < 0.12 and server.messages else None
    if doubled and not doubled.message.poison:
        world.faults.struck["unique-id doubled"] += 1
        return doubled.unique_id
    return f"u{world.witness.delivered.total()}"
