"""The recipe's data section: where rows come from and how a row becomes a prompt."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from prerlkit.settings import Bool, Fraction, Int, NonNegativeInt, PositiveInt, Settings

Scalar = str | int | float | bool


class HubSource(Settings):
    """A data set of the Hugging Face Hub, read with `datasets`."""

    kind: Literal["hub"]
    id: str
    """`openai/gsm8k`."""
    config: str | None = None
    """The data set's configuration, where it has several."""
    split: str = "train"
    """The split to read."""
    revision: str | None = None
    """Hub commit, tag or branch. null: the default branch."""


class FileSource(Settings):
    """A local file: jsonl, json, parquet or csv, by its ending."""

    kind: Literal["file"]
    path: str
    """Relative paths are taken from the working directory, then from the recipe's folder."""


class GeneratorSource(Settings):
    """Rows made up by a generator of prerlkit."""

    kind: Literal["generator"]
    name: str
    """`arithmetic`, with the settings `operations`, `terms`, `low` and `high`; or `reach`, with `part` (`train`, `eval`
    or `pretraining`)."""
    rows: PositiveInt
    """How many distinct rows to make; fewer exist for some settings, which is an error."""
    seed: Int = 0
    """Decides the rows; the recipe's seed does not."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The generator's own settings, checked by its own class."""


class ReasoningGymSource(Settings):
    """A task of the `reasoning-gym` package (`pip install 'prerlkit[reasoning-gym]'`)."""

    kind: Literal["reasoning_gym"]
    task: str
    """`chain_sum`, `gcd`, `spell_backward`, … see its gallery."""
    rows: PositiveInt
    """How many rows to make."""
    seed: Int = 0
    """Decides the rows; the recipe's seed does not."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The task's own settings."""


class HeldOut(Settings):
    """Eval rows taken out of the train source before training sees it."""

    kind: Literal["held_out"]
    rows: PositiveInt
    """How many rows to take out."""


Source = Annotated[HubSource | FileSource | GeneratorSource | ReasoningGymSource, Field(discriminator="kind")]
EvalSource = Annotated[
    HubSource | FileSource | GeneratorSource | ReasoningGymSource | HeldOut, Field(discriminator="kind")
]


class Filter(Settings):
    """Keep rows whose column fits. Exactly one of the conditions."""

    column: str
    """The row's column that is compared."""
    equals: Scalar | None = None
    """The value that it must have."""
    any_of: tuple[Scalar, ...] | None = None
    """The values of which it must have one."""
    at_least: float | None = None
    """Its lowest value."""
    at_most: float | None = None
    """Its highest value."""
    matches: str | None = None
    """A regular expression that must be found in the column's text."""

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        conditions = [self.equals, self.any_of, self.at_least, self.at_most, self.matches]
        if sum(c is not None for c in conditions) != 1:
            raise ValueError("give exactly one of equals, any_of, at_least, at_most, matches")
        return self


class PassRate(Settings):
    """Keep train prompts whose pass rate in an evaluation lies in a range, both ends included."""

    samples: str
    """`samples.jsonl` of a target that `prerlkit eval` measured on the train rows; relative paths as in `file` sources.
    A prompt without a judged answer in it is left out."""
    at_least: Fraction = 0.0
    """Lowest pass rate: the share of the prompt's judged samples that passed, of its greedy answer without samples."""
    at_most: Fraction = 1.0
    """Highest pass rate."""

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least:g}) is more than at_most ({self.at_most:g})")
        return self


class Data(Settings):
    """Where prompts come from and how they are put."""

    train: Source
    """TRL: `train_dataset`, `dataset_name`; verl: `train_files`."""
    eval: EvalSource
    """Disjoint from train: checked on the rendered prompts, and an overlap is an error. TRL: `eval_dataset`; verl:
    `val_files`."""
    prompt: str = "{question}"
    """Text of the user's turn; `{column}` is filled from the row, a list of texts as one per line; `{{` and `}}`
    are braces."""
    answer: str | None = "answer"
    """Column of the gold answer; null where the verifier needs none."""
    answer_pattern: str | None = None
    """A regular expression whose first group is the gold answer within that column (GSM8K: `#### (.*)`)."""
    system: str | None = None
    """System prompt. null: none, though a chat template may put in its own."""
    chat: Bool = True
    """Render with the tokenizer's chat template. false: the prompt text as it stands (base models)."""
    template_options: dict[str, Scalar] = Field(default_factory=dict)
    """Passed to the chat template, such as `enable_thinking: false`. TRL: `chat_template_kwargs`; verl:
    `apply_chat_template_kwargs`."""
    filters: tuple[Filter, ...] = ()
    """All must hold; applied to train rows only unless filter_eval."""
    filter_eval: Bool = False
    """Apply the filters to eval rows too."""
    pass_rate: PassRate | None = None
    """Keep train prompts of a measured difficulty. null: all. Prime-RL draws from pools of difficulty while it runs."""
    max_rows: NonNegativeInt = 0
    """Use only the first so many train rows. 0: all. verl: `train_max_samples`."""
    shuffle: Bool = True
    """A new order each epoch, decided by the recipe's seed. TRL: `shuffle_dataset`."""
