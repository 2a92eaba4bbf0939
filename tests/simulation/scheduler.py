"""Threads of which one at a time goes on, picked by a seeded chance, on a simulated clock.

Each task runs the real code in a thread of its own and calls `step` wherever it is about to cross
the border of its process. There, and only there, another one may go on, time may pass, and the
process may die. So a seed decides the whole run.
"""

from __future__ import annotations

import math
import random
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, TypeVar

Answer = TypeVar("Answer")

_STEP_SECONDS = 0.001  # what a step takes
_SHOWN = 60  # steps that a failure shows


class Killed(BaseException):
    """The process of this task is gone: nothing of ours may catch this and go on."""


class Stuck(BaseException):
    """Every task waits for another one."""


class Step(NamedTuple):
    """One line of the trace."""

    now: float
    task: str
    what: str

    def __str__(self) -> str:
        return f"{self.now:.3f} {self.task:12} {self.what}"


class Process:
    """What lives and dies together, with clocks of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.paused_until = 0.0
        self.wall_offset = 0.0  # seconds that its clock is wrong
        self.slept = 0.0  # seconds that its monotonic clock missed: its machine was suspended


class Task:
    """One thread of a process."""

    def __init__(self, name: str, process: Process, body: Callable[[], object]) -> None:
        self.name = name
        self.process = process
        self.body = body
        self.due = 0.0  # goes on then,
        self.ready: Callable[[], bool] = lambda: False  # or when this is so
        self.carrier: _Carrier | None = None


class _Carrier(threading.Thread):
    """A thread that carries one task after the other: threads are dear to make."""

    def __init__(self) -> None:
        super().__init__(name="simulated", daemon=True)
        self.baton = threading.Lock()
        self.baton.acquire()
        self.carry: Callable[[], None] = lambda: None

    def run(self) -> None:
        sys.settrace(None)  # coverage is for tests that look at one thing; here it doubles the time
        while True:
            self.baton.acquire()
            self.carry()


_idle: list[_Carrier] = []


class Scheduler:
    """Who goes on.

    Args:
        chance: decides.
        switch: how likely a step lets another task go on.
        now: the simulated clock, in seconds.
    """

    def __init__(self, chance: random.Random, switch: float, now: float) -> None:
        self.now = now
        self.steps = 0
        self.trace: deque[Step] = deque(maxlen=_SHOWN)
        self.digest = 0  # of the whole trace
        self.failure: BaseException | None = None
        self.alone: Process | None = None  # while it is set, no other process does anything
        self.on_step: Callable[[str], None] = lambda _: None  # before a step; may kill its task
        self.on_note: Callable[[Step], object] = lambda _: None
        self.current = self._outside = Task("outside", Process("outside"), lambda: None)
        self._chance = chance
        self._switch = switch
        self._tasks: list[Task] = []
        self._unwinds = False  # whether any of them may be of a dead process
        self._baton = threading.Lock()  # of the thread that called `run`
        self._baton.acquire()
        self._until: Callable[[], bool] = lambda: False
        self._last_step = 0

    # For the tasks

    @property
    def at_rest(self) -> bool:
        """Whether no task is at work: the world is being made, or looked at."""
        return self.current is self._outside

    def step(self, what: str) -> None:
        """The current task is about to do this."""
        task = self.current
        if task is self._outside:
            return
        if task.process.dead:
            raise Killed
        self.note(what)
        self.on_step(what)
        if self._chance.random() < self._switch or self.steps >= self._last_step:
            self._yield()

    def note(self, what: str) -> None:
        """A line of the trace."""
        self.steps += 1
        self.now += _STEP_SECONDS
        step = Step(self.now, self.current.name, what)
        self.trace.append(step)
        self.digest = zlib.crc32(f"{step.now} {step.task} {what}".encode(), self.digest)
        self.on_note(step)

    def sleep(self, seconds: float) -> None:
        """The current task does nothing for so long."""
        self.wait(lambda: False, seconds)

    def wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """The current task goes on when this is so, or after so long; whether it is so."""
        task = self.current
        if not self.at_rest and not ready():
            task.ready = ready
            task.due = math.inf if seconds is None else self.now + seconds
            self._yield()
            task.due = 0.0
        return ready()

    def spawn(self, name: str, process: Process, body: Callable[[], object]) -> None:
        """Begin a task. It ends when its body does."""
        self._tasks.append(Task(name, process, body))
        self._unwinds |= process.dead

    def kill(self, process: Process) -> None:
        """No task of this process does anything any more."""
        process.dead = self._unwinds = True
        if self.current.process is process:
            raise Killed

    def pause(self, process: Process, seconds: float) -> None:
        """The process stands still for so long."""
        process.paused_until = self.now + seconds
        if self.current.process is process:
            self._yield()

    def fail(self, failure: BaseException) -> None:
        """The simulation ends here; the first failure counts."""
        self.failure = self.failure or failure

    # For who runs the simulation

    def run(self, until: Callable[[], bool], most_steps: int) -> bool:
        """Let the tasks go on until that is so; False where it takes more steps.

        Raises:
            Whatever `fail` was told.
        """
        self._until, self._last_step = until, self.steps + most_steps
        self._run()
        if self.failure:
            raise self.failure
        return until()

    def end(self) -> None:
        """Unwind every task."""
        for task in self._tasks:
            task.process.dead = self._unwinds = True
        self.failure, self._until = None, lambda: not self._tasks
        self._last_step = self.steps + 1
        self._run()

    def _run(self) -> None:
        if (chosen := self._next()) is not self._outside:
            self._give(chosen)
            self._baton.acquire()
            self.current = self._outside

    # The baton

    def _yield(self) -> None:
        """Let somebody go on, and come back when it is this task's turn again."""
        task = self.current
        if (chosen := self._next()) is not task:
            carrier = task.carrier
            assert carrier
            self._give(chosen)
            carrier.baton.acquire()
        if task.process.dead:
            raise Killed

    def _next(self) -> Task:
        """Who goes on. Where all wait, time passes."""
        if self._unwinds:
            for task in self._tasks:
                if task.process.dead:
                    return task
            self._unwinds = False
        while not (self.failure or self.steps >= self._last_step or self._until()):
            if ready := self._ready():
                return self._chance.choice(ready) if len(ready) > 1 else ready[0]
            soonest = min(map(self._soonest, self._tasks), default=math.inf)
            if soonest == math.inf:
                self.fail(Stuck(", ".join(task.name for task in self._tasks)))
                break
            self.now = soonest
        return self._outside

    def _ready(self) -> list[Task]:
        """Who may go on now."""
        now, alone = self.now, self.alone
        return [
            task
            for task in self._tasks
            if task.process.paused_until <= now
            and (alone is None or task.process is alone)
            and (task.due <= now or task.ready())
        ]

    def _soonest(self, task: Task) -> float:
        """When a task that waits may be ready, if nobody else does anything."""
        if self.alone is not None and task.process is not self.alone:
            return math.inf
        due = 0.0 if task.ready() else task.due
        return max(due, task.process.paused_until)

    def _give(self, task: Task) -> None:
        self.current = task
        if task is self._outside:
            self._baton.release()
            return
        if task.carrier is None:
            carrier = task.carrier = _idle.pop() if _idle else _Carrier()
            carrier.carry = lambda: self._carry(task, carrier)
            if not carrier.ident:
                carrier.start()
        task.carrier.baton.release()

    def _carry(self, task: Task, carrier: _Carrier) -> None:
        """Do what it does, and what those do that begin right when another one has ended."""
        self._do(task)
        while (chosen := self._next()).carrier is None and chosen is not self._outside:
            chosen.carrier, self.current = carrier, chosen
            self._do(chosen)
        _idle.append(carrier)
        self._give(chosen)

    def _do(self, task: Task) -> None:
        try:
            if not task.process.dead:
                task.body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - a broken invariant, or a bug of the simulation
            self.fail(error)
        self._tasks.remove(task)


class SimulatedEvent(threading.Event):
    """An event whose waiting is a task's waiting."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.wait(self.is_set, timeout)


class _Waiters(list[Any]):
    """What `concurrent.futures.wait` hangs into a future, each with an event."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def append(self, waiter: Any) -> None:  # noqa: ANN401 - the library's own, without a public name
        waiter.event = SimulatedEvent(self._scheduler)
        super().append(waiter)


class SimulatedFuture(Future[Answer]):
    """A future whose waiting is a task's waiting."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._waiters = _Waiters(scheduler)

    def result(self, timeout: float | None = None) -> Answer:
        self._scheduler.wait(self.done, timeout)
        return super().result(0)


class SimulatedExecutor(Executor):
    """Runs what it is given as tasks of the process that asks."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self._name = name

    def submit(
        self, fn: Callable[..., Answer], /, *args: object, **kwargs: object
    ) -> Future[Answer]:
        future = SimulatedFuture[Answer](self._scheduler)

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                answer = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - an executor hands on whatever was raised
                future.set_exception(error)
            else:
                future.set_result(answer)

        if self._scheduler.at_rest:
            run()
        else:
            process = self._scheduler.current.process
            self._scheduler.spawn(f"{process.name} {self._name}", process, run)
        return future
