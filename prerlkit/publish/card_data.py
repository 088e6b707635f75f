"""What a model card says about the data: where evaluation prompts, training rows and demonstrations come from."""

from __future__ import annotations

from prerlkit.data.sources import name
from prerlkit.recipe.demonstrations import Demonstrations
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.sources import FileSource, GeneratorSource, HeldOut, HubSource, ReasoningGymSource


def evaluated_dataset(recipe: Recipe) -> dict[str, str]:
    """Return the name of the evaluations' data set for the card's metadata."""
    source = recipe.data.train if isinstance(recipe.data.eval, HeldOut) else recipe.data.eval
    rest = " (held-out rows of the training source)" if isinstance(recipe.data.eval, HeldOut) else ""
    match source:
        case HubSource():
            config = {"dataset_config": source.config} if source.config else {}
            return {
                "dataset_type": source.id,
                "dataset_name": source.id + rest,
                "dataset_split": source.split,
                **config,
            }
        case GeneratorSource():
            return {"dataset_type": f"prerlkit-{source.name}", "dataset_name": f"{source.name}, generated{rest}"}
        case ReasoningGymSource():
            return {"dataset_type": "reasoning-gym", "dataset_name": f"reasoning-gym {source.task}{rest}"}
        case FileSource():
            return {"dataset_type": "local-file", "dataset_name": f"a local file{rest}"}


def hub_ids(recipe: Recipe) -> list[str]:
    """Return the Hub's data sets that the recipe names, each once."""
    demonstrated = [stage.demonstrations.source for stage in recipe.stages if stage.demonstrations]
    sources = (recipe.data.train, recipe.data.eval, *demonstrated)
    return list(dict.fromkeys(source.id for source in sources if isinstance(source, HubSource)))


def origin(demonstrations: Demonstrations) -> str:
    """Say where a supervised stage's answers come from, without a path of this machine."""
    if demonstrations.samples is not None:
        return "samples that passed in an evaluation"
    if demonstrations.source is None:
        return "a column of the training rows"
    return "a local file" if isinstance(demonstrations.source, FileSource) else name(demonstrations.source)
