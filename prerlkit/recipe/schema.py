"""The recipe: all settings of a run, frozen and checked before anything is loaded.

A recipe's top-level `adapter`, `rollout` and `optimizer` are the defaults of every stage; a stage that names one of
them overrides only the keys it gives. The result is written into each stage: a resolved recipe has no hidden defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from prerlkit.objective.presets import ObjectiveChoice
from prerlkit.plugins import built_in, is_file
from prerlkit.recipe.demonstrations import Demonstrations, check_supervised
from prerlkit.recipe.evaluation import Evaluation
from prerlkit.recipe.inherit import OF_AN_ADAPTER, inherited, on_ground
from prerlkit.recipe.model import Adapter, Model
from prerlkit.recipe.optimizer import Optimizer, Schedule
from prerlkit.recipe.output import Health, Output
from prerlkit.recipe.probes import Guard, ProbeChoices, Until
from prerlkit.recipe.rollout import ENGINES, Rollout
from prerlkit.recipe.sources import Data
from prerlkit.secrets import named_like_secret
from prerlkit.settings import (
    Bool,
    Int,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    word_to_kind,
)


def _key_name(name: str) -> str:
    """Return a variable's name. Raises ValueError where its value would not be kept out of logs."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError("it is no name of an environment variable; a key itself never belongs into a recipe")
    if not named_like_secret(name):
        raise ValueError("name the variable like a secret, such as JUDGE_API_KEY: then logs and reports leave it out")
    return name


class VerifierConfig(Settings):
    """One verifier, by name, with its own settings and its weight in the reward."""

    name: str
    """The name, as `prerlkit verifiers list` shows it."""
    weight: PositiveFloat = 1.0
    """Its share of the reward, with `reward: weighted`. TRL: `reward_weights`."""
    gate: Bool = False
    """true: its failing makes the score 0, whatever the others say; its own score then takes no part in the reward."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The verifier's own settings, checked by its own class."""
    timeout: PositiveFloat = 5.0
    """Seconds for one verdict. What runs longer is killed and the sample is unjudged."""
    environment: tuple[Annotated[str, AfterValidator(_key_name)], ...] = ()
    """Names of environment variables that this verifier gets, such as a service's key. It sees no other ones."""


class Memory(Settings):
    """Settings that trade time for memory and change nothing else."""

    microbatch_tokens: PositiveInt = 4096
    """Tokens, padding included, that go through the model at once in training; the gradients of a step add up. verl:
    `ppo_max_token_len_per_gpu`; transformers counts: `per_device_train_batch_size`, `gradient_accumulation_steps`."""
    logits_chunk: PositiveInt = 1024
    """Positions whose logits exist at the same time: [chunk, V] is held, never [B, T, V]."""
    gradient_checkpointing: Bool = False
    """Recompute activations in backward: about a third more time, a fraction of the memory. transformers:
    `activation_checkpointing` too; verl: `enable_gradient_checkpointing`."""
    verifier_workers: PositiveInt | None = None
    """Processes that judge completions. null: half of the cores, 2 to 8; 16 where a verifier says that it waits."""
    shard_base: Bool = False
    """Several processes share the base's layers out among them (FSDP2), where it doesn't fit one device."""


_RUN_WIDE = ("engine", "engine_settings", "vllm", "max_prompt_tokens", "long_prompts", "max_sequences")
"""Keys of `rollout` that are settled once, when the run is built."""


def _objectives(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("needs at least one")
    return value


def _not_empty_where_trained(value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
    return value if info.data.get("source") is not None else _not_empty(value)


def _positive_where_trained(value: float, info: ValidationInfo) -> float:
    if not value and info.data.get("source") is None:
        raise PydanticCustomError("greater_than", "Input should be greater than 0")
    return value


def _required_where_trained(schema: dict[str, Any]) -> None:
    """Require the fields of a trained stage; a stage with `from` needs only its name."""
    trained = [key for key in schema["required"] if key != "name"]
    schema["required"] = ["name"]
    schema["anyOf"] = [{"required": ["from"]}, {"required": trained}]


class Stage(Settings):
    """One stage: an objective, a number of steps, and how it continues from the stage before."""

    model_config = ConfigDict(json_schema_extra=_required_where_trained)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Names its folder and its lines in metrics.jsonl."""
    source: Annotated[str | None, Field(alias="from")] = None
    """A first stage that is taken from elsewhere instead of being trained: `RUN_FOLDER`, `RUN_FOLDER:STAGE`, the folder
    of a LoRA adapter in PEFT's layout, or the Hub id of one (`name/adapter`, `name/adapter@revision`). Its `steps` are
    then 0. Without an `objective` its adapter has the settings of the one that it takes. null: it is trained."""
    objective: Annotated[
        tuple[ObjectiveChoice, ...],
        BeforeValidator(_objectives, json_schema_input_type=ObjectiveChoice | tuple[ObjectiveChoice, ...]),
        AfterValidator(_not_empty_where_trained),
    ]
    """A preset (`grpo`), a preset with overrides, the five choices in full, or a list of these (hybrid)."""
    demonstrations: Demonstrations | None = None
    """Answers that the stage learns from, with `objective: sft`; it then samples nothing, and a step trains on
    `rollout.prompts_per_step` of them. null: it samples."""
    steps: NonNegativeInt
    """Rollout batches. 10–25 is the paper's range for the NSR-PreRL warm-up. transformers: `max_steps`; verl:
    `total_training_steps`."""
    until: Until | Annotated[tuple[Until, ...], AfterValidator(_not_empty)] | None = None
    """End the stage earlier, when a rule on a metric holds, or one of several. null: after `steps`."""
    guard: Guard | None = None
    """End the stage when its policy collapses, and restore the last good adapter. Meant for stages that train on
    negative samples. null: no."""
    learning_rate: Annotated[NonNegativeFloat, AfterValidator(_positive_where_trained)]
    """LoRA wants about ten times what full fine-tuning wants. verl: `lr`."""
    schedule: Annotated[Schedule, BeforeValidator(word_to_kind, json_schema_input_type=str | Schedule)] = Schedule()
    """transformers: `lr_scheduler_type`."""
    reincarnation: Literal["stack", "merge", "continue"] = "stack"
    """How this stage continues the one before. stack: a fresh adapter on top of the frozen ones (exact). merge: the
    earlier adapter is folded into the weights. continue: the same adapter trains on."""
    keep_optimizer: Bool = False
    """With `continue`: keep the optimizer's moments, as the reference code does. Otherwise it starts fresh."""
    adapter: Adapter = Adapter()
    """Overrides of the recipe's adapter, key by key."""
    rollout: Rollout = Rollout()
    """Overrides of the recipe's rollout, key by key."""
    optimizer: Optimizer = Optimizer()
    """Overrides of the recipe's optimizer, key by key."""


class Recipe(Settings):
    """One experiment."""

    version: Literal[1] = 1
    """Of this schema."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Names its run folder."""
    description: str = ""
    """One line, which `prerlkit recipes list` and the model card show."""
    seed: Int = 0
    """Decides prompts' order, adapters' start and every sample."""
    model: Model
    adapter: Adapter = Adapter()
    """TRL: `peft_config`; PEFT: `lora_config`."""
    data: Data
    verifiers: Annotated[tuple[VerifierConfig, ...], AfterValidator(_not_empty)]
    """TRL: `reward_funcs`; verl: `custom_reward_function`."""
    reward: Literal["weighted", "product"] = "weighted"
    """Of several verifiers. weighted: the mean of their scores by weight. product: the scores multiplied."""
    rollout: Rollout = Rollout()
    optimizer: Optimizer = Optimizer()
    memory: Memory = Memory()
    stages: Annotated[tuple[Stage, ...], AfterValidator(_not_empty)]
    """What is trained, in this order. `adapter`, `rollout` and `optimizer` above are what each stage starts from."""
    evaluation: Evaluation = Evaluation()
    health: Health = Health()
    probes: ProbeChoices = ()
    """Further measurements in addition to the metrics, without changing the run; docs/probes.md."""
    output: Output = Output()

    @property
    def gates(self) -> tuple[int, ...]:
        """Positions of the verifiers that are gates."""
        return tuple(i for i, use in enumerate(self.verifiers) if use.gate)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        """Write the recipe's adapter, rollout and optimizer into each stage, under the stage's own keys."""
        return inherited(data)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for use in self.verifiers:
            if use.weight != 1.0 and (use.gate or self.reward == "product"):
                why = "it is a gate" if use.gate else "scores are multiplied (reward: product)"
                raise ValueError(f'verifiers: "{use.name}" has a weight, which means nothing where {why}; leave it out')
        names = [stage.name for stage in self.stages]
        for i, stage in enumerate(self.stages):
            if stage.name in names[:i]:
                raise ValueError(f'stages: two are named "{stage.name}"; give each its own name')
            for key in _RUN_WIDE:
                if getattr(stage.rollout, key) != getattr(self.rollout, key):
                    raise ValueError(
                        f'stages: "{stage.name}" overrides rollout.{key}, which is one for the whole run; set it in '
                        "the recipe's own rollout"
                    )
            if stage.source is None:
                check_supervised(stage.name, stage.objective, stage.demonstrations, stage.rollout, stage.guard)
            if i and stage.source is not None:
                raise ValueError(f'stages: "{stage.name}" has `from`, which goes with the first stage only')
            below = self.stages[i - 1] if i else None
            if below and stage.reincarnation != "continue" and (below.adapter.dora or stage.adapter.dora):
                raise ValueError(
                    f'stages: "{stage.name}" is a fresh adapter above "{below.name}" and one of them is DoRA. DoRA is '
                    "not a sum of products, so the two can't become one adapter: set dora: false, or continue"
                )
            if below and stage.reincarnation == "continue" and stage.adapter != below.adapter and not self.open:
                raise ValueError(
                    f'stages: "{stage.name}" continues the adapter of "{below.name}" but asks for other adapter '
                    "settings; leave `adapter` out there, or stack"
                )
            if stage.keep_optimizer and (stage.reincarnation != "continue" or not below):
                raise ValueError(f'stages: "{stage.name}" has keep_optimizer, which goes with reincarnation: continue')
        self._check_engine()
        if too_big := [k for k in self.evaluation.pass_at if k > max(1, self.evaluation.samples)]:
            raise ValueError(f"evaluation.pass_at: {too_big[0]} is more than evaluation.samples")
        if self.model.id.startswith("pypi:") and not self.model.sha256:
            raise ValueError("model.sha256: a pypi: model needs the SHA-256 of its wheel, in parts of the joined file")
        return self

    @property
    def on_ground(self) -> int:
        """How many of the first stages have the settings of an adapter that exists; 0 where the run begins without."""
        return on_ground([{**dict(stage), "from": stage.source} for stage in self.stages])

    @property
    def open(self) -> bool:
        """Whether those settings are not read yet. `with_ground` writes them into the stages."""
        of_ground = self.stages[: self.on_ground]
        return any(not stage.adapter.model_fields_set.issuperset(OF_AN_ADAPTER) for stage in of_ground)

    def with_ground(self, settings: Mapping[str, Any]) -> Recipe:
        """Return the recipe with rank, alpha, targets and rslora of the adapter that it begins with.

        Raises:
            ValidationError: a stage that continues it asks for others, or the engine refuses the sum of ranks.
        """
        data = self.model_dump(mode="json")
        for stage in data["stages"][: self.on_ground]:
            stage["adapter"] = {**settings, **stage["adapter"]}
        return Recipe.model_validate(data)

    @model_serializer(mode="wrap")
    def _without_open_settings(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if self.open and "stages" in data:
            for stage, plain in zip(self.stages[: self.on_ground], data["stages"], strict=False):
                plain["adapter"] = {k: v for k, v in plain["adapter"].items() if k in stage.adapter.model_fields_set}
        return data

    @property
    def stacked_rank(self) -> int:
        """Rank of the one adapter that equals all stages together."""
        fresh = [s for i, s in enumerate(self.stages) if not i or s.reincarnation != "continue"]
        return sum(stage.adapter.rank for stage in fresh)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that an engine has to hold: prompt and completion."""
        limits = [stage.rollout.max_new_tokens for stage in self.stages]
        return self.rollout.max_prompt_tokens + max(*limits, self.evaluation.max_new_tokens or 0)

    def _check_engine(self) -> None:
        """Refuse settings that an engine or backend would refuse later."""
        if self.model.backend == "unsloth" and self.rollout.engine != "vllm":
            raise ValueError("model.backend: unsloth goes with rollout.engine: vllm; its own decoding is not used here")
        if not is_file(self.rollout.engine):  # a file is not imported here: a recipe can be looked at without trust
            built_in(ENGINES[self.rollout.engine])().check(self)
