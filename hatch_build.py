"""Puts the top-level folders `verifiers/` and `recipes/` into the wheel as `prerlkit/verifiers` and `prerlkit/recipes`.

An editable install must not copy them: a `prerlkit` folder in site-packages would hide the checkout, and edits to a
verifier or a recipe would not show.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Folders(BuildHookInterface):
    """hatchling calls `initialize` before each build; `version` is `standard` or `editable`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            for folder in ("verifiers", "recipes"):
                build_data["force_include"][folder] = f"prerlkit/{folder}"
