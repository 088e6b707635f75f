"""Environments of the PyPI package `verifiers` as a verifier. What needs the package is skipped where it lacks."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.trust import of_verifiers
from prerlkit.types import Verdict
from prerlkit.verify import VerifierInput
from prerlkit.verify.environment import load, reward
from prerlkit.verify.gold import failures
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import find, make

# Its distribution, not its module: the folder `verifiers` of this checkout can be imported too.
real = pytest.mark.skipif(
    not list(metadata.distributions(name="verifiers")),
    reason="the PyPI package verifiers is not installed; .ci/run tests with it",
)
OBJECTS = {"prompt": "p", "completion": "c", "answer": "a", "state": {}, "info": {"n": 1}, "task": None, "parser": 3}


def test_a_function_gets_what_its_parameters_name() -> None:
    def two(answer, completion): ...
    def none(): ...
    def keyword(*, info, missing=3): ...
    def rest(completion, **kwargs): ...

    async def waiting(parser, state): ...

    class Scores:
        def __call__(self, task, prompt): ...

    assert reward.arguments(two, OBJECTS) == {"answer": "a", "completion": "c"}
    assert reward.arguments(none, OBJECTS) == {}
    assert reward.arguments(keyword, OBJECTS) == {"info": {"n": 1}}
    assert reward.arguments(rest, OBJECTS) == OBJECTS
    assert reward.arguments(waiting, OBJECTS) == {"parser": 3, "state": {}}
    assert reward.arguments(Scores(), OBJECTS) == {"task": None, "prompt": "p"}


def test_a_sync_and_an_async_function_score_and_nothing_becomes_a_0() -> None:
    def right(completion):
        return completion == "c"

    async def half(answer):
        await asyncio.sleep(0)
        return 0.5 if answer == "a" else 0.0

    assert asyncio.run(reward.score(right, OBJECTS)) == 1.0
    assert asyncio.run(reward.score(half, OBJECTS)) == 0.5
    for function in (lambda: float("nan"), lambda: {}["x"], lambda: None, lambda column: 1.0):
        with pytest.raises((ValueError, KeyError, TypeError)):
            asyncio.run(reward.score(function, OBJECTS))


def test_the_bounds_are_those_of_functions_between_0_and_1() -> None:
    def functions(*weights: float) -> tuple[load.RewardFunction, ...]:
        return tuple(load.RewardFunction(str(n), None, weight, None) for n, weight in enumerate(weights))

    assert reward.bounds(functions(1.0, 0.2, 0.0)) == (0.0, 1.2)
    assert reward.bounds(functions(1.0, -0.5)) == (-0.5, 1.0)


def test_a_missing_or_another_package_is_one_message(monkeypatch, tmp_path) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    (tmp_path / "verifiers").mkdir()  # as a checkout of ours on the path
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(load.metadata, "version", version)
    with pytest.raises(PrerlkitError, match="not installed") as error:
        make("environment", {"id": "my-env"})
    assert "[environments]'" in error.value.hint
    monkeypatch.setattr(load.metadata, "version", lambda name: "0.3.0")
    with pytest.raises(PrerlkitError, match=r"0\.3\.0 is installed"):
        make("environment", {"id": "my-env"})


@pytest.mark.parametrize(
    "settings", [{"id": "os; x"}, {"id": ""}, {"id": "a", "scale": [1, 0]}, {"id": "a", "arg": {}}]
)
def test_wrong_settings_are_refused(settings) -> None:
    with pytest.raises(UsageError, match="environment"):
        make("environment", settings)


def test_an_environments_code_is_asked_about_without_importing_it(tmp_path, monkeypatch) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "my_env.py"
    file.write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("environment", "prerlkit.verifiers.environment:Environment"):
        for environment_id in ("my-env", "owner/my-env", "my_env", str(file)):
            (code,) = of_verifiers([VerifierConfig(name=name, settings={"id": environment_id})], tmp_path)
            assert (code.key, code.place) == ("verifiers[0].settings.id", str(file))
    assert not marker.exists()


def test_the_python_verifier_is_asked_about_under_its_modules_name_too(tmp_path) -> None:
    (tmp_path / "r.py").write_text("def f(completion): return True\n")
    for name in ("python", "prerlkit.verifiers.python:Python", inspect.getsourcefile(find("python"))):
        uses = [VerifierConfig(name=name, settings={"function": f"{tmp_path}/r.py:f"})]
        assert [code.place for code in of_verifiers(uses, tmp_path)] == [str(tmp_path / "r.py")]


HEAD = """
import os
import verifiers as vf
from datasets import Dataset

ROWS = Dataset.from_list([{"question": "Capital of France?", "answer": "Paris"}])
PARSER = vf.XMLParser(["answer"])

async def right(parser, completion, answer):
    return float(parser.parse_answer(completion) == answer)

def brief(completion, info, **kwargs):
    return float(len(completion[-1]["content"]) <= info["most"])

def broken(answer):
    raise KeyError("no such thing")

def knows(state):
    return float(os.environ["ENV_KEY"] == "k3y" and state["prompt"][0].role == "system")

def of_group(completions):
    return [1.0 for _ in completions]

def single(functions, weights=None, **more):
    rubric = vf.Rubric(funcs=functions, weights=weights, parser=PARSER)
    return vf.SingleTurnEnv(dataset=ROWS, system_prompt="Be brief.", parser=PARSER, rubric=rubric, **more)

class Asks(vf.MultiTurnEnv):
    async def env_response(self, messages, state, **kwargs):
        return []

class Own(vf.Rubric):
    async def score_rollout(self, state):
        state["reward"] = 1.0
"""


def environment(folder: Path, expression: str, **settings: Any) -> dict[str, Any]:
    """Settings for an environment that `expression` makes in a file of its own."""
    file = folder / "small_env.py"
    file.write_text(f"{HEAD}\ndef load_environment(most=40):\n    return {expression}\n")
    return {"id": str(file), **settings}


def judged(settings: dict[str, Any], completion: str, info: Any = '{"most": 40}') -> Verdict:
    row = {"question": "Capital of France?", "answer": "Paris", "info": info}
    return make("environment", settings).judge(VerifierInput("<prompt>", completion, "Paris", row))


@real
def test_the_gold_cases_hold() -> None:
    assert failures(find("environment")) == []


@real
def test_the_parts_are_weighted_as_the_rubric_says(tmp_path) -> None:
    settings = environment(tmp_path, "single([right, brief], [1.0, 0.25])", pass_at=0.7)
    best = judged(settings, "<answer>Paris</answer>")
    assert (best.score, best.passed) == (1.0, True)
    assert best.details["reward"] == 1.25
    assert best.details["parts"] == {"right": 1.0, "brief": 1.0, "num_turns": 1.0}
    long = judged(settings, "It is " * 20 + "<answer>Paris</answer>", {"most": 40})
    assert (long.score, long.passed) == (0.8, True)
    wrong = judged(settings, "<answer>Rome</answer>")
    assert (wrong.score, wrong.passed) == (0.2, False)


@real
def test_an_exception_is_unjudged_and_never_0(tmp_path) -> None:
    verdict = judged(environment(tmp_path, "single([right, broken], [1.0, 0.1])"), "<answer>Paris</answer>")
    assert (verdict.score, verdict.passed) == (None, None)
    assert 'reward function "broken" raised KeyError' in verdict.reason
    assert verdict.details["parts"] == {"right": 1.0, "broken": None}


@real
def test_a_group_of_rubrics_and_one_that_judges_in_another_process(tmp_path) -> None:
    rubric = "vf.RubricGroup([vf.MathRubric(), vf.Rubric(funcs=[brief], weights=[0.5])])"
    settings = environment(tmp_path, f"vf.SingleTurnEnv(dataset=ROWS, rubric={rubric})")
    row = {"question": "What is 1 + 1?", "answer": "2", "info": {"most": 40}}
    use = VerifierConfig(name="environment", settings=settings, timeout=60.0)
    with Runner([use], workers=1) as runner:
        texts = (r"\boxed{2}", r"\boxed{\frac{4}{2}}", r"\boxed{3}")
        verdicts = [runner.submit(VerifierInput("p", text, "2", row)).result() for text in texts]
    assert [verdict.passed for verdict in verdicts] == [True, True, False]
    assert verdicts[2].score == pytest.approx(1 / 3)
    assert verdicts[2].details["parts"] == {"correct_answer": 0.0, "brief": 1.0, "num_turns": 1.0}


@real
def test_a_metric_that_breaks_leaves_the_reward(tmp_path) -> None:
    verdict = judged(environment(tmp_path, "single([broken, right, right], [0.0, 1.0, 1.0])"), "<answer>Rome</answer>")
    assert (verdict.score, verdict.passed) == (0.0, False)
    assert verdict.details["parts"] == {"broken": None, "right": 0.0, "right_2": 0.0, "num_turns": 1.0}


@real
def test_a_reward_outside_its_scale_is_unjudged_until_the_scale_is_set(tmp_path) -> None:
    expression = "single([lambda completion: 3.0])"
    verdict = judged(environment(tmp_path, expression), "x")
    assert not verdict.judged
    assert "set `scale`" in verdict.reason
    assert judged(environment(tmp_path, expression, scale=[-1.0, 7.0]), "x").score == 0.5


@real
@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("Asks(dataset=ROWS, rubric=vf.Rubric(funcs=[right]), max_turns=3)", "is a Asks, not a SingleTurnEnv"),
        ("vf.ToolEnv(dataset=ROWS, rubric=vf.Rubric(funcs=[right]), tools=[])", "is a ToolEnv, not a SingleTurnEnv"),
        ("vf.EnvGroup([single([right]), single([right])])", "is a EnvGroup, not a SingleTurnEnv"),
        (
            'single([right], tool_defs=[{"name": "f", "description": "", "parameters": {}}])',
            "gives the model tools",
        ),
        ("single([right, of_group])", "scores whole groups of completions (right, of_group)"),
        ("single([right], [0.0])", "has no reward function with a weight"),
        ("vf.SingleTurnEnv(dataset=ROWS, rubric=Own())", "its rubric Own scores by a score_rollout that it defines"),
        ("None", "is a NoneType, not a SingleTurnEnv"),
        ("1 / 0", "can't be loaded: ZeroDivisionError"),
    ],
)
def test_what_is_no_single_turn_environment_is_refused_before_anything_is_judged(tmp_path, expression, said) -> None:
    verifier = make("environment", environment(tmp_path, expression))
    with pytest.raises(UsageError) as error:
        verifier.check_service()
    assert said in error.value.message


@real
def test_a_module_that_is_not_there_is_one_message(tmp_path) -> None:
    for environment_id, said in (("no-such-env", "no_such_env"), (str(tmp_path / "no.py"), "no file")):
        with pytest.raises(UsageError, match=said):
            make("environment", {"id": environment_id}).check_service()
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UsageError, match="has no function load_environment"):
        make("environment", {"id": str(tmp_path / "empty.py")}).check_service()


@real
def test_the_process_keeps_its_signal_handlers_and_its_variables(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("ENV_KEY", raising=False)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    verifier = make("environment", environment(tmp_path, "single([knows])"))
    verifier.environment = {"ENV_KEY": "k3y"}
    verdict = verifier.judge(VerifierInput("p", "c", None, {"question": "q"}))
    assert (verdict.score, verdict.details["parts"]) == (1.0, {"knows": 1.0, "num_turns": 1.0})
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    assert "ENV_KEY" not in os.environ
    # `import verifiers` is theirs, with our built-in verifiers loaded from a folder of the same name.
    assert (Path(sys.modules["verifiers"].__file__).parent / "rubrics").is_dir()


@real
def test_workers_judge_by_it_and_refuse_it(tmp_path) -> None:
    row = {"question": "Capital of France?", "answer": "Paris", "info": {"most": 40}}
    use = VerifierConfig(name="environment", settings=environment(tmp_path, "single([right, brief])"))
    with Runner([use], workers=2) as runner:
        futures = [
            runner.submit(VerifierInput("p", f"<answer>{city}</answer>", "Paris", row)) for city in ("Paris", "Rome")
        ]
        assert [future.result().score for future in futures] == [1.0, 0.5]
    use = VerifierConfig(name="environment", settings=environment(tmp_path, "single([of_group])"))
    with pytest.raises(UsageError, match="scores whole groups"), Runner([use], workers=1):
        pass


@real
def test_rows_that_bring_tools_or_broken_info_are_refused(tmp_path) -> None:
    verifier = make("environment", environment(tmp_path, "single([right])"))
    assert "tools" in verifier.row_error({"info": {"tool_defs": [{"name": "f"}]}})
    assert "no JSON" in verifier.row_error({"info": "{"})
    assert verifier.row_error({"info": '{"a": 1}'}) == verifier.row_error({}) == ""
