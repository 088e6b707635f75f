"""Several vLLM servers as one client: who is asked for what, what one that dies costs, what a wrong one is told."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from prerlkit.engines.engine import EngineContext
from prerlkit.engines.vllm import connect_servers
from prerlkit.errors import CanaryError, EngineError, PrerlkitError
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.canary import Canary, CanaryEngine
from prerlkit.rollout.data_parallel import DataParallelVllm
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.vllm import GoneError, Request, Sampled, VllmEngine
from prerlkit.rollout.vllm_server import ServerVllm
from prerlkit.types import Prompt

END = 9
SAMPLING = Sampling(2, 2, 1.0, seed=5)
PROMPTS = [Prompt(f"p{i}", chr(65 + i), (65 + i,)) for i in range(6)]


class Client:
    """Answers with a request's seed. `fail`: what the call of a name raises; `before` is called before each answer."""

    def __init__(self, name="a"):
        self.name, self.calls, self.groups, self.fail = name, [], [], {}
        self.before = lambda: None

    def call(self, name):
        self.calls.append(name)
        if name in self.fail:
            raise self.fail[name]

    def wake(self):
        self.call("wake")

    def rest(self):
        self.call("rest")

    def load(self, folder):
        self.call("load")

    def sample(self, requests, sampling, end_ids):
        assert len({r.token_ids for r in requests}) == 1
        self.groups.append(requests[0].token_ids)
        for index in reversed(range(len(requests))):
            self.before()
            self.call("answer")
            yield Sampled(index, (requests[index].seed, END), (-0.5, -0.25))

    def score(self, sequences, *, adapter):
        self.call("score")
        return {self.name: [[0.0]]}

    def close(self):
        self.call("close")


def requests(prompts, samples):
    """Seeds are their places."""
    return [Request((p,), p * samples + s, "salt") for p in range(prompts) for s in range(samples)]


def make(*clients, at_once=8):
    notes = []
    return notes, DataParallelVllm(clients, at_once=at_once, report=notes.append)


def ask(client, asked):
    return list(client.sample(asked, SAMPLING, (END,)))


def right(answers, number):
    """Whether each request was answered once, with what is its own."""
    return sorted((a.index, a.token_ids) for a in answers) == [(i, (i, END)) for i in range(number)]


def test_requests_are_shared_out_by_prompt_in_equal_parts():
    clients = [Client(), Client(), Client()]
    answers = ask(make(*clients, at_once=64)[1], requests(6, 4))
    assert right(answers, 24)
    assert sorted(p for c in clients for (p,) in c.groups) == list(range(6))  # no prompt in two places
    assert [len(c.groups) for c in clients] == [2, 2, 2]
    assert (0,) in clients[0].groups  # with equally little to do, the first one is preferred
    assert ask(make(Client())[1], []) == []


def test_a_slow_server_gets_fewer():
    slow, fast = Client(), Client()
    others_done = threading.Event()
    slow.before = lambda: others_done.wait(20)
    answers = []
    for answer in make(slow, fast, at_once=2)[1].sample(requests(6, 2), SAMPLING, (END,)):
        answers.append(answer)
        if len(answers) == 10:  # all but the slow one's first prompt
            others_done.set()
    assert right(answers, 12)
    assert (len(slow.groups), len(fast.groups)) == (1, 5)


def test_no_server_is_asked_for_much_more_than_it_works_on_at_a_time():
    client, most = Client(), []
    answers = make(client, at_once=4)[1].sample(requests(8, 2), SAMPLING, (END,))
    for taken, _ in enumerate(answers, 1):
        most.append(2 * len(client.groups) - taken)
    assert max(most) <= 4


def test_what_a_dead_server_owed_comes_from_the_others_and_once_only():
    dies, lives = Client(), Client()
    dies.before = lambda: dies.fail.update(answer=GoneError("a does not answer")) if "answer" in dies.calls else None
    notes, both = make(dies, lives)
    assert right(ask(both, requests(6, 3)), 18)
    assert notes == ["a does not answer; continuing with 1 of 2 until the run ends"]
    both.load(None)
    assert right(ask(both, requests(2, 3)), 6)
    assert "load" not in dies.calls
    assert "load" in lives.calls
    lives.fail = {"answer": GoneError("b does not answer")}
    with pytest.raises(GoneError, match="b does not answer"):
        ask(both, requests(2, 3))
    both.close()
    assert dies.calls[-1] == lives.calls[-1] == "close"


def test_an_adapter_is_handed_over_when_all_have_it():
    gone, refuses, lives = Client(), Client(), Client()
    notes, three = make(gone, refuses, lives)
    gone.fail = {"load": GoneError("a does not answer")}
    three.load(None)
    assert notes == ["a does not answer; continuing with 2 of 3 until the run ends"]
    refuses.fail, lives.fail = {"load": EngineError("b refuses", "look")}, {"load": EngineError("c refuses", "look")}
    with pytest.raises(EngineError) as caught:
        three.load(None)
    assert caught.value.message == "b refuses\nc refuses"
    assert caught.value.hint == "look"
    with pytest.raises(GoneError):
        make(gone)[1].load(None)


def test_another_failure_than_death_ends_the_batch():
    refuses = Client()
    refuses.fail = {"answer": EngineError("too long a prompt")}
    notes, both = make(refuses, Client())
    with pytest.raises(EngineError, match="too long"):
        ask(both, requests(4, 2))
    assert not notes


def test_a_rollout_that_is_broken_off_asks_for_nothing_more():
    client, asked, go = Client(), threading.Event(), threading.Event()
    client.before = lambda: (asked.set(), go.wait(20)) if client.calls.count("answer") == 1 else None
    answers = make(client, at_once=1)[1].sample(requests(3, 3), SAMPLING, (END,))
    next(answers)
    assert asked.wait(20)
    answers.close()
    go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("share"):
            thread.join(20)
    assert client.calls == ["answer", "answer"]  # the one that was on its way


def engine(servers, folder):
    clients = [ServerVllm(s.address, connections=4, serve="vllm serve x") for s in servers]
    trainer = SimpleNamespace(release_memory=lambda: None, write_adapter=lambda folder, _: folder.mkdir(parents=True))
    notes = []
    client = DataParallelVllm(clients, at_once=4, report=notes.append)
    return notes, VllmEngine(client, trainer, lambda ids: "", (END,), folder)


def test_samples_do_not_depend_on_how_many_servers_there_are_nor_on_one_that_dies(serve, tmp_path):
    servers = [serve() for _ in range(3)]
    found = []
    for number in (1, 2, 3):
        _, vllm = engine(servers[:number], tmp_path / str(number))
        vllm.sync_weights()
        found.append({(p, s): c for p, s, c in vllm.generate(PROMPTS, SAMPLING)})
        vllm.close()
    assert len(found[0]) == 12
    assert len({c.token_ids for c in found[0].values()}) == 12
    assert found[0] == found[1] == found[2]
    for server in servers[:2]:
        assert {path for path, _, _ in server.asked} >= {"/v1/load_lora_adapter", "/v1/completions"}

    notes, vllm = engine(servers, tmp_path / "dies")
    vllm.sync_weights()
    servers[1].refuse["/v1/completions"] = (500, {"error": "EngineCore died"})
    assert {(p, s): c for p, s, c in vllm.generate(PROMPTS, SAMPLING)} == found[0]
    assert len(notes) == 1
    assert servers[1].address in notes[0]
    assert "EngineCore died" in notes[0]
    vllm.close()


class Copies:
    """An engine of two copies; of what the adapter changes `shares` arrive, and `other` is added to the base."""

    def __init__(self, shares=(1.0, 1.0), other=(0.0, 0.0)):
        self.shares, self.other = shares, other

    def sync_weights(self):
        pass

    def score(self, sequences, *, adapter):
        rows = [BASE + other + adapter * share * CHANGE for share, other in zip(self.shares, self.other, strict=True)]
        return {name: [list(row)] for name, row in zip(("the server at a", "the server at b"), rows, strict=True)}


RNG = np.random.default_rng(0)
BASE, CHANGE = -3 * RNG.random(39), RNG.normal(size=39)


def watched(**copies):
    trainer = SimpleNamespace(score=lambda sequences: [list(BASE)])
    canary = Canary(trainer, [Prompt("p", "", tuple(range(40)))], "float32")
    trainer.score = lambda sequences: [list(BASE + CHANGE)]
    return CanaryEngine(Copies(**copies), canary)


def test_the_canary_finds_one_wrong_server_among_right_ones():
    sync = watched().sync_weights()
    assert (sync.drift, sync.gain) == pytest.approx((0.0, 1.0))
    sync = watched(shares=(1.001, 0.998)).sync_weights()
    assert sync.gain == pytest.approx(0.998)
    assert sync.drift == pytest.approx(0.002 * np.abs(CHANGE).mean())
    with pytest.raises(CanaryError, match="server at b") as caught:
        watched(shares=(1.0, 0.0)).sync_weights()
    assert "did not arrive" in caught.value.message
    assert "server at a" not in caught.value.message
    with pytest.raises(CanaryError) as caught:
        watched(shares=(2.0, 0.0)).sync_weights()
    assert "server at a" in caught.value.message
    assert "server at b" in caught.value.message
    with pytest.raises(CanaryError, match="server at a is another model") as caught:
        watched(other=(0.1, 0.0))
    assert "server at b" not in caught.value.message


def connect(tiny_recipe, addresses, rank=0):
    data = tiny_recipe()
    data["rollout"] = {**data["rollout"], "engine": "vllm", "temperature": 1.0, "vllm": {"server": addresses}}
    recipe, notes = Recipe.model_validate(data), []
    policy = SimpleNamespace(adapters=SimpleNamespace(linear_names=("q_proj",)))
    context = EngineContext(recipe, policy, PROMPTS, Path("model"), notes.append, rank)
    return notes, connect_servers(context, recipe.rollout.vllm.server)


def test_all_wrong_servers_are_named_before_the_first_step(serve, tiny_recipe):
    good, no_adapters, other_tokens = serve(), serve(), serve()
    no_adapters.refuse["/v1/load_lora_adapter"] = (404, {"detail": "Not Found"})
    other_tokens.refuse["/tokenize"] = (200, {"tokens": [1, 2, 3]})
    addresses = [good.address, no_adapters.address, "http://127.0.0.1:9", other_tokens.address]
    with pytest.raises(PrerlkitError) as caught:
        connect(tiny_recipe, addresses)
    said = caught.value.message.splitlines()
    assert len(said) == 3
    assert all(address in line for address, line in zip(addresses[1:], said, strict=True))
    assert "takes no adapters" in said[0]
    assert "does not answer" in said[1]
    assert "tokenizer" in said[2]
    assert "--lora-target-modules q_proj" in caught.value.hint


def test_each_process_begins_at_another_server(serve, tiny_recipe):
    servers = [serve() for _ in range(3)]
    addresses = [s.address for s in servers]
    firsts = Counter()
    for rank in range(4):
        notes, client = connect(tiny_recipe, addresses, rank)
        assert notes == [f"rollouts from the vLLM servers at {', '.join(addresses)}"]
        before = [len(s.asked) for s in servers]
        assert len(ask(client, requests(1, 2))) == 2
        firsts[next(i for i, s in enumerate(servers) if len(s.asked) > before[i])] += 1
        assert len(client.score([(1, 2)], adapter=False)) == 3
    assert firsts == {0: 2, 1: 1, 2: 1}
