"""What a verifier is: a name, its settings, and a judgement of one completion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from prerlkit import settings as _settings
from prerlkit.types import Verdict

Resources = Literal["pure", "subprocess", "sandbox"]


@dataclass(frozen=True, slots=True)
class VerifierInput:
    """One completion to be judged, with all that a verifier may look at.

    Attributes:
        prompt: the rendered text that the model saw.
        completion: what it wrote, without special tokens.
        answer: the gold answer, or None where the data has none.
        row: the whole data row. It crosses a process boundary as JSON: tuples arrive as lists, and values that JSON
            lacks (dates, bytes) as their `str()`.
        truncated: True when the token limit cut the completion.
        tokens: the completion's length in tokens.
    """

    prompt: str
    completion: str
    answer: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class GoldCase:
    """An example that a verifier carries along, with the verdict that it must get.

    Attributes:
        completion: what the model is supposed to have written.
        expect: "pass" or "fail" (`Verdict.passed`), or "unjudged".
        answer, row, prompt, truncated, tokens: the rest of the sample.
        settings: the verifier's settings for this case.
    """

    completion: str
    expect: Literal["pass", "fail", "unjudged"]
    answer: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    truncated: bool = False
    tokens: int = 0

    @property
    def sample(self) -> VerifierInput:
        return VerifierInput(self.prompt, self.completion, self.answer, self.row, self.truncated, self.tokens)


class Verifier(ABC):
    """Judges completions. A plugin is one file with one subclass of this, named as the file is.

    Class attributes:
        name: what a recipe calls it; the file's name without `.py`.
        Settings: a frozen pydantic class, a subclass of `prerlkit.verify.Settings`. Recipes are checked by it.
        resources: "pure" computes and nothing more. "subprocess" starts programs: what it leaves running is ended
            after each batch. "sandbox" isolates what it starts.
        waits: `judge` spends its time waiting (for a service, a device, a child with a clock) and hardly computes.
            More workers than cores then judge at the same time.
        seconds: for a verifier that keeps its own time: a verdict may take so long where that is more than the
            recipe's `timeout`. `__init__` may set it.
        needs_answer: samples without a gold answer are unjudged before `judge` is asked. `__init__` may set it where
            it depends on the settings.
        gold: examples that must pass, must fail and can't be judged.

    `judge` may raise: the sample is then unjudged. It runs in a worker process, one sample at a time, under a limit of
    time and memory, so it needs no timeouts.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[_settings.Settings]] = _settings.Settings
    resources: ClassVar[Resources] = "pure"
    waits: ClassVar[bool] = False
    seconds: float = 0.0
    needs_answer: bool = True
    gold: ClassVar[tuple[GoldCase, ...]] = ()

    settings: _settings.Settings
    environment: Mapping[str, str] = {}
    """Set by the worker: the environment variables that the recipe passes on (`environment`). There are no others."""
    on_clock: Callable[[bool], None] = staticmethod(lambda running: None)
    """Set by the worker: how `off_the_clock` tells the runner."""

    def __init__(self, settings: _settings.Settings) -> None:
        self.settings = settings

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """Around slow imports and loads that happen once, in `judge`: their time isn't the sample's (up to 60 s)."""
        self.on_clock(False)
        yield
        self.on_clock(True)

    @abstractmethod
    def judge(self, sample: VerifierInput) -> Verdict:
        """The verdict on one sample. Its score is in [0, 1]; `Verdict.unjudged` where no verdict is possible."""

    def judge_batch(self, samples: Sequence[VerifierInput]) -> list[Verdict]:
        """Verdicts in the samples' order. Override it only where a batch is cheaper than its samples one by one."""
        return [self.judge(sample) for sample in samples]

    def gold_completion(self, answer: str, row: Mapping[str, Any]) -> str | None:
        """The gold answer as a right completion would put it, so that it can be tried before a run.

        `answer` is "" where the data name no answer column; an audit also passes wrong answers. None (the default): how
        it would be written isn't known.
        """
        return None

    def row_error(self, row: Mapping[str, Any]) -> str:
        """Return why no completion of this row could be judged, or "" where nothing is known to be wrong.

        A row with an error stops the run before its first step. The default finds none.
        """
        return ""

    def gold_error(self, answer: str) -> str:
        """Return why no completion could pass with this gold answer, or "" where nothing is known to be wrong.

        For verifiers that can't write a right completion (`gold_completion`), but know that there is none. The first
        answer with an error stops the run before its first step. The default finds none.
        """
        return ""

    def check_service(self) -> None:  # noqa: B027 - most verifiers ask no service
        """Look once, before anything is judged, whether the service that this verifier asks can be used.

        It is called in one worker of a runner, with `environment` set, and has a minute. The default asks nothing.

        Raises:
            PrerlkitError, UsageError: it can't. The run stops before its first step.
        """

    def dress(self, text: str) -> str:
        """A text in the form that this verifier asks for, such as tags around it. The default asks for none.

        Used where several verifiers judge together: a right answer must also fit the form, and so must an attack.
        """
        return text

    def attacks(self, sample: VerifierInput) -> Mapping[str, str]:
        """Completions, by a short name, that try to be rewarded without solving; for `prerlkit verifiers audit`.

        Those that suit every verifier (nothing, the prompt, another row's answer, …) are tried anyway.
        """
        return {}
