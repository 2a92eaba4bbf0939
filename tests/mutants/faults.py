"""Deliberate faults: each would lose mail, publish twice, or stop a mailbox for ever."""

from __future__ import annotations

from typing import NamedTuple

SESSION = "ingest/intake/session.py"
DELETES = "ingest/intake/deletes.py"

# Parts of the exam, quickest first.
STEPS = "tests/faults/test_kill_at_every_step.py"
INTAKE = "tests/unit/intake"
STATE = "tests/contract/test_state.py"
READBACK = "tests/unit/state/test_readback.py"
OUTBOX = "tests/unit/state/test_outbox.py"
STORES = "tests/unit/objects"
MIME = "tests/unit/mime"
POP3 = "tests/unit/pop3"
DOVECOT = "tests/integration/test_dovecot.py"


class Mutant(NamedTuple):
    """One fault: a piece of code, what it becomes, and which parts of the exam must see it."""

    name: str
    file: str
    before: str
    after: str
    exam: tuple[str, ...]


MUTANTS = (
    Mutant(
        "DELE before the commit",
        SESSION,
        "                self._wait(writing)  # the commit point: records and parts are durable\n",
        "                for member in batch.members:\n"
        "                    self._maildrop.delete(member.listed.number)\n"
        "                self._maildrop.quit()\n"
        "                self._wait(writing)\n",
        (STEPS,),
    ),
    Mutant(
        "DELE by unique-id alone",
        DELETES,
        "if block is None or hashlib.sha256(block).hexdigest() != entry.header_sha256:",
        "if block is None:",
        (INTAKE,),
    ),
    Mutant(
        "lease id not checked",
        "ingest/state/lua/prelude.lua",
        "return redis.call('HGET', holders, mailbox) == id",
        "return redis.call('EXISTS', holders) == 1",
        (STATE,),
    ),
    Mutant(
        "RSET after the commit",
        "ingest/pop3/commands.py",
        'b"DELE %d\\r\\n" % number',
        'b"RSET\\r\\n"',
        (POP3, DOVECOT),
    ),
    Mutant(
        "settled before QUIT is answered",
        SESSION,
        "            farewell = self._maildrop.quit()\n",
        "            sent = [name for name in self._deletes._sent.values() if name]\n"
        "            self._ledger.settle(self._lease, sent)\n"
        "            farewell = self._maildrop.quit()\n",
        (INTAKE,),
    ),
    Mutant(
        "QUIT after the connection broke",
        SESSION,
        "        if self._broken:\n            raise self._broken\n",
        "",
        (INTAKE, STEPS),
    ),
    Mutant(
        "directory not synced",
        "ingest/objects/directory.py",
        "            _sync(path.parent)\n",
        "            pass\n",
        (STORES,),
    ),
    Mutant(
        "file not synced",
        "ingest/objects/directory.py",
        "                os.fsync(self._file.fileno())\n",
        "",
        (STORES,),
    ),
    Mutant(
        "splice proof skipped",
        "ingest/mime/transfer.py",
        "        if len(decoded) != lines * kind.octets or "
        "pybase64.b64encode(decoded) != characters:\n            return None\n",
        "",
        (MIME,),
    ),
    Mutant(
        "part not awaited before the commit",
        "ingest/intake/batch.py",
        "        for writing in self._writing:\n            writing.result()\n",
        "",
        (INTAKE, STEPS),
    ),
    Mutant(
        "outbox trimmed too early",
        "ingest/state/lua/prelude.lua",
        "    if group['pending'] > 0 then\n",
        "    if false then\n",
        (OUTBOX,),
    ),
    Mutant(
        "sweep by the worker's clock",
        "ingest/objects/sweep.py",
        "before = store.now() - age",
        "before = __import__('datetime').datetime.now(__import__('datetime').UTC) - age",
        (STORES,),
    ),
    Mutant(
        "counts not taken back",
        "ingest/intake/attempts.py",
        "        if isinstance(error, IngestError):\n",
        "        if False:\n",
        (STEPS,),
    ),
    Mutant(
        "terminator at a bare LF",
        "ingest/pop3/connection.py",
        'if octets.find(b".", start, end) < 0 or (\n'
        '                (found := octets.find(b"\\r\\n.", start - _CONTEXT, end)) < 0\n'
        "            ):",
        'if octets.find(b".", start, end) < 0 or (\n'
        '                (found := octets.find(b"\\n.", start - 1, end) - 1) < 0\n'
        "            ):",
        (POP3,),
    ),
    Mutant(
        "a cut message known by its unique-id",
        "ingest/model.py",
        "return None if cut else self.unique_id",
        "return self.unique_id",
        (INTAKE, STATE),
    ),
    Mutant(
        "claims by a Redis that lost its last writes",
        "ingest/state/lua/claim.lua",
        "if not whole(KEYS[1], KEYS[2]) then",
        "if redis.call('EXISTS', KEYS[1]) == 0 then",
        (READBACK,),
    ),
    Mutant(
        "the brake not asked before QUIT",
        SESSION,
        "            self._deletes.refuse_under_the_brake()\n",
        "",
        (INTAKE,),
    ),
    Mutant(
        "a second event for the same record",
        "ingest/state/lua/commit.lua",
        "if redis.call('ZADD', KEYS[3], 'NX', time, record) == 1 then",
        "redis.call('ZADD', KEYS[3], 'NX', time, record)\n  if true then",
        (STATE,),
    ),
)
