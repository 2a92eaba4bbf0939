"""Noticing that Redis lost data.

The checkpoint object in the store says which Redis wrote it: its epoch, a random value that Redis
got when its index was whole, and how many checkpoints it had counted. A Redis without epoch is
empty; one with another epoch is another one; one that counts less than the checkpoint says was
rolled back. A restart or a failover changes the run id: Redis may have lost its last writes then,
so that mailboxes and batches are compared with the store before anything is claimed.
A store without checkpoint, where Redis has counted some, is another store, or lost its objects. So
did one whose checkpoint is older than those that it confirmed to Redis: it was set back.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from redis import Redis

from ingest.errors import ObjectMissing, StateUnavailable, StoreChanged
from ingest.intake.ports import ObjectStore
from ingest.state.commands import PREFIX, Commands, text
from ingest.state.outbox import oldest_event

_KEY: Final = "checkpoint.json"
_OCTETS_MAX: Final = 64 * 1024

# An event is put at the commit of its batch: no batch is committed six hours after it began, and by
# no lease that ended an hour ago.
MARGIN: Final = timedelta(hours=7)

_LOOK_SECONDS: Final = 86400  # longer than a comparison takes

_OVERTAKEN: Final = 1  # a checkpoint may be so slow that the next one is in the store before it


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The time before which every sink is done, and the Redis that said so."""

    before: datetime | None = None  # of batches' ULIDs; None: nothing is known to be done
    compared: datetime | None = None  # before then, Redis knows every batch; None: as `before`
    epoch: str
    count: int  # of checkpoints, this one included
    run_id: str  # of Redis; for earlier versions, which notice by it that Redis was restarted


class Look:
    """Notices a Redis that is rolled back while something is found out about it.

    It counts its steps, in Redis and here: what was found out before the last one is still so
    where both agree.

    Args:
        commands: of Redis.
        run_id: of Redis when the look begins.
    """

    def __init__(self, commands: Commands, run_id: str) -> None:
        self.run_id: Final = run_id
        self._commands = commands
        self._key = commands.key("looks", secrets.token_hex(8))
        self._steps = 0
        self.step()

    def step(self) -> None:
        """Make sure of all that was found out.

        Raises:
            StateUnavailable: Redis was rolled back since the look began.
        """
        self._steps += 1
        if int(self._commands.run("INCR", self._key)) != self._steps:
            raise StateUnavailable(
                "Redis was rolled back while it was compared with the store",
                remedy="nothing to do: it is compared again within minutes",
            )
        self._commands.run("EXPIRE", self._key, _LOOK_SECONDS)


class Checkpoints:
    """Writes and reads the checkpoint. Raises StateError and StoreError."""

    def __init__(self, client: Redis, store: ObjectStore, prefix: str = PREFIX) -> None:
        self.commands = Commands(client, prefix)
        self._store = store

    def read(self) -> Checkpoint | None:
        """The checkpoint in the store; None: none was ever written."""
        try:
            octets = b"".join(self._store.read(_KEY, octets=_OCTETS_MAX))
        except ObjectMissing:
            return None
        return msgspec.json.decode(octets, type=Checkpoint)

    def look(self) -> Look:
        """Begin to find out how far every sink is done."""
        return Look(self.commands, self.run_id())

    def write(self, compared: datetime, look: Look) -> Checkpoint | None:
        """Say how far every sink is done; None where that can't be said.

        It can't where Redis has no epoch, or was rolled back since its last checkpoint: what it
        says of the outbox is of the past then, and its epoch is withdrawn. Nor where the store was
        set back, which a new checkpoint would hide.

        `compared`: all batches committed until then are known to Redis, by comparison with the
        store. `look`: that in which they were compared.
        """
        epoch = self.epoch()
        if epoch is None:
            return None
        confirmed, last, before = self._confirmed(), self.read(), self._done(compared)
        if _is_set_back(last, confirmed):
            return None
        count = int(self.commands.run("INCR", self.commands.key("checkpoints")))
        if last and count <= last.count:
            self.withdraw()
            return None
        look.step()
        return self.put(
            Checkpoint(
                before=before,
                compared=compared - MARGIN,
                epoch=epoch,
                count=count,
                run_id=look.run_id,
            )
        )

    def _done(self, compared: datetime) -> datetime | None:
        """The time before which every sink is done."""
        now = datetime.fromtimestamp(self.commands.now(), UTC)
        oldest = oldest_event(self.commands)
        done = min(compared, oldest or now, now) - MARGIN
        held = float(self.commands.run("GET", self.commands.key("held")) or 0)
        if oldest and oldest.timestamp() <= held:
            last = self.read()
            return min(last.before, done) if last and last.before else None
        return done

    def put(self, checkpoint: Checkpoint) -> Checkpoint:
        """Write this checkpoint, and let Redis know that the store has it."""
        self._store.put(_KEY, msgspec.json.encode(checkpoint))
        self.commands.run("SET", self.commands.key("confirmed"), checkpoint.count)
        return checkpoint

    def run_id(self) -> str:
        """Another one after every restart of Redis."""
        return text(self.commands.call("run_id", []))

    def epoch(self) -> str | None:
        """The epoch of Redis; None where its index is not whole."""
        epoch: bytes | None = self.commands.run("GET", self.commands.key("epoch"))
        return None if epoch is None else epoch.decode()

    def count(self) -> int:
        """How many checkpoints Redis has counted."""
        return int(self.commands.run("GET", self.commands.key("checkpoints")) or 0)

    def lost(self) -> bool:
        """Whether Redis is empty, another one, or was rolled back, so that it must be read back.

        Also true of a new installation, whose read-back finds nothing and is done at once.

        Raises:
            StoreChanged: the store is another one, or was emptied or set back: what Redis says of
                it, and what may be deleted because of that, is wrong.
        """
        # Asked for before the checkpoint, which is written before they are.
        epoch, counted, confirmed = self.epoch(), self.count(), self._confirmed()
        checkpoint = self.read()
        if checkpoint is None:
            if epoch is None and not counted:
                return True
            raise StoreChanged(
                "this Redis has been used with an object store, and there is no checkpoint.json in "
                "this one",
                remedy="correct INGEST_STORE, or restore what was in it; to begin anew with an "
                "empty store, use an empty Redis",
            )
        if _is_set_back(checkpoint, confirmed):
            raise StoreChanged(
                f"the object store has checkpoint {checkpoint.count}, and has confirmed checkpoint "
                f"{confirmed} before: an older copy was restored, or this Redis belongs to another",
                remedy="correct INGEST_STORE or INGEST_REDIS_URL, or do as the operations guide "
                "says of a bucket that was restored from an older copy",
            )
        return checkpoint.epoch != epoch or self.count() < checkpoint.count

    def _confirmed(self) -> int:
        """The count of the last checkpoint that the store is known to have had; 0: none."""
        return int(self.commands.run("GET", self.commands.key("confirmed")) or 0)

    def whole(self) -> bool:
        """Whether mailboxes can be claimed: Redis was compared with the store since it started."""
        keys = [self.commands.key("epoch"), self.commands.key("run-id")]
        return bool(self.commands.call("whole", keys))

    def withdraw(self) -> None:
        """Take its epoch from Redis: nothing can be claimed until it was read back."""
        self.commands.run("DEL", self.commands.key("epoch"))

    def distrust(self) -> None:
        """Let no run of Redis count as compared: nothing can be claimed until this one is."""
        self.commands.run("DEL", self.commands.key("run-id"))


def _is_set_back(last: Checkpoint | None, confirmed: int) -> bool:
    """Whether the store, which has this checkpoint, lost later ones that it had confirmed."""
    return confirmed > 0 and (last is None or last.count < confirmed - _OVERTAKEN)
