"""Several vLLM servers as one client: every adapter goes to all servers, and the requests are divided among them.

A completion depends on its request's seed only. So it is the same (to rounding) on every server, for any number of
servers. A server that dies therefore costs only time: the others draw the completions that it still owed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

from prerlkit.errors import PrerlkitError, joined
from prerlkit.rollout.protocol import Sampling, Scores
from prerlkit.rollout.vllm import Answers, Client, GoneError, Request, Sampled

S = TypeVar("S")
T = TypeVar("T")


class DataParallelVllm:
    """A `Client` of clients, each with the whole model.

    A client that raises GoneError while it takes an adapter or samples is left out from then on, as long as another
    client is there. Every other failure is raised.

    Args:
        clients: the first of two with equally few completions is preferred.
        at_once: completions that one client works on at a time.
        report: called with a line about each client that is left out.
    """

    def __init__(self, clients: Sequence[Client], *, at_once: int, report: Callable[[str], None]) -> None:
        self._clients = tuple(clients)
        self._living = list(clients)
        self._at_once = at_once
        self._report = report

    def wake(self) -> None:
        """See `Client.wake`."""
        on_each(lambda client: client.wake(), self._living)

    def rest(self) -> None:
        """See `Client.rest`."""
        on_each(lambda client: client.rest(), self._living)

    def load(self, folder: Path) -> None:
        """See `Client.load`. It returns when all clients have the adapter."""

        def load(client: Client) -> GoneError | None:
            try:
                client.load(folder)
            except GoneError as gone:
                return gone
            return None

        living = tuple(self._living)
        for client, gone in zip(living, on_each(load, living), strict=True):
            if gone is not None:
                self._leave_out(client, gone)

    def sample(self, requests: Sequence[Request], sampling: Sampling, end_ids: Sequence[int]) -> Answers:
        """See `Client.sample`. The requests of one prompt go to one client, whose cache then holds the prompt.

        The next prompt goes to the client that owes the fewest completions, once it owes fewer than it works on at a
        time. A client that is slower, or has longer answers, gets fewer.
        """
        work = _Work(requests, {client: set() for client in self._living})
        # Each of a client's prompts under way has a thread, which waits for its answers.
        pool = ThreadPoolExecutor(len(self._living) * self._at_once, thread_name_prefix="share")
        try:
            while work.unfinished:
                while share := work.next_share(self._at_once):
                    pool.submit(work.ask, *share, sampling, end_ids)
                client, arrived = work.arrivals.get()
                if client not in work.owed:
                    continue  # of a client that was left out: its requests were given to others
                if isinstance(arrived, GoneError):
                    self._leave_out(client, arrived)
                    work.take_back(client)
                elif isinstance(arrived, Exception):
                    raise arrived
                else:
                    work.owed[client].discard(arrived.index)
                    yield arrived
        finally:
            work.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def score(self, sequences: Sequence[tuple[int, ...]], *, adapter: bool) -> dict[str, Scores]:
        """See `RemoteEngine.score`: every client's answer."""
        scores: dict[str, Scores] = {}
        for answer in on_each(lambda client: client.score(sequences, adapter=adapter), self._living):
            scores |= answer
        return scores

    def close(self) -> None:
        on_each(lambda client: client.close(), self._clients)

    def _leave_out(self, client: Client, gone: GoneError) -> None:
        """Continue without `client`. Raise `gone` when it is the last client."""
        if len(self._living) == 1:
            raise gone
        self._living.remove(client)
        self._report(f"{gone.message}; continuing with {len(self._living)} of {len(self._clients)} until the run ends")


@dataclass(slots=True)
class _Work:
    """One batch on its way.

    Attributes:
        owed: places of the requests that each client was given and has not answered.
        waiting: places of the requests that no client was given yet, by prompt.
        arrivals: what the clients answered, or raised.
        stopped: the rest is no longer wanted.
    """

    requests: Sequence[Request]
    owed: dict[Client, set[int]]
    waiting: deque[list[int]] = field(init=False)
    arrivals: SimpleQueue[tuple[Client, Sampled | Exception]] = field(default_factory=SimpleQueue)
    stopped: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.waiting = deque(self._by_prompt(range(len(self.requests))))

    @property
    def unfinished(self) -> bool:
        return bool(self.waiting) or any(self.owed.values())

    def next_share(self, at_once: int) -> tuple[Client, list[int]] | None:
        """Return the next client and its requests; None while all clients are busy, or no request remains."""
        client = min(self.owed, key=lambda client: len(self.owed[client]))
        if not self.waiting or len(self.owed[client]) >= at_once:
            return None
        places = self.waiting.popleft()
        self.owed[client].update(places)
        return client, places

    def take_back(self, client: Client) -> None:
        """Return the requests that `client` owes to the front of the waiting ones."""
        self.waiting.extendleft(reversed(self._by_prompt(sorted(self.owed.pop(client)))))

    def ask(self, client: Client, places: list[int], sampling: Sampling, end_ids: Sequence[int]) -> None:
        """Have `client` answer the requests at `places`, in a separate thread."""
        try:
            asked = client.sample([self.requests[place] for place in places], sampling, end_ids)
            with closing(asked) as answers:
                for sampled in answers:
                    self.arrivals.put((client, replace(sampled, index=places[sampled.index])))
                    if self.stopped.is_set():
                        return
        except Exception as error:  # noqa: BLE001 -- it is raised where the batch is waited for
            self.arrivals.put((client, error))

    def _by_prompt(self, places: Iterable[int]) -> list[list[int]]:
        return [list(group) for _, group in groupby(places, key=lambda place: self.requests[place].token_ids)]


def on_each(call: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Run `call` with every item at the same time. Raise one error that lists all failures."""
    with ThreadPoolExecutor(len(items), thread_name_prefix="each") as pool:
        answers = [pool.submit(call, item) for item in items]
    if wrong := [error for answer in answers if isinstance(error := answer.exception(), PrerlkitError)]:
        raise joined(wrong)
    return [answer.result() for answer in answers]
