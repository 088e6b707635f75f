"""Opening what another person sent doesn't run it: checks import nothing, and what runs code asks once."""

from __future__ import annotations

import json
import py_compile
from importlib.metadata import EntryPoint
from importlib.util import cache_from_source
from pathlib import Path

import pytest

import prerlkit
from prerlkit.errors import UsageError
from prerlkit.recipe.load import load, packaged
from prerlkit.trust import of_model, of_recipe, of_verifiers, require, store, untrusted
from prerlkit.verify import foreign, judges
from prerlkit.verify.registry import find

VERIFIER = '''
from pathlib import Path
from prerlkit.verify import Settings, Verdict, Verifier
Path(r"{marker}").write_text("it ran")
class Polite(Verifier):
    """Passes thanks."""
    name = "polite"
    Settings = Settings
    gold = ()
    def judge(self, sample): return Verdict.of("thank" in sample.completion)
'''
ASKS = "This would run code that you have not allowed"


@pytest.fixture
def marker(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "it-ran"


@pytest.fixture
def foreign_recipe(recipe_file, tmp_path, marker) -> Path:
    """A recipe with a verifier in its folder, which leaves a mark when it is imported."""
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "polite.py").write_text(VERIFIER.format(marker=marker))
    return recipe_file(verifiers=[{"name": "polite"}])


@pytest.mark.parametrize("check", [("recipes", "validate"), ("run", "--dry-run"), ("recipes", "show")])
def test_a_check_runs_nothing(check, invoke, foreign_recipe, marker) -> None:
    done = invoke(*check, foreign_recipe)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    if "show" not in check:
        assert "not checked" in done.stderr
        assert "verifiers/polite.py" in done.stderr
        assert "--trust" in done.stderr


def test_listing_runs_nothing(invoke, foreign_recipe, marker) -> None:
    listed = invoke("verifiers", "list")
    assert "polite" in listed.stdout
    assert "add --trust" in listed.stdout
    assert not marker.exists()


@pytest.mark.parametrize(
    "command",
    [("run",), ("verifiers", "audit"), ("verify-resume",), ("plan", "--probe"), ("sweep",)],
)
def test_what_runs_code_asks_for_the_flag(command, invoke, foreign_recipe, marker) -> None:
    done = invoke(*command, foreign_recipe)
    assert done.returncode == 2, done.stderr
    for said in (ASKS, "verifiers/polite.py", "sha256:", "--trust", "trust=True"):
        assert said in done.stderr
    assert not marker.exists()


def test_what_was_allowed_is_remembered_until_a_file_changes(invoke, foreign_recipe, tmp_path, marker) -> None:
    assert invoke("verifiers", "show", "polite").returncode == 2
    assert invoke("recipes", "validate", foreign_recipe, "--trust").returncode == 0
    assert marker.exists()
    assert store().stat().st_mode & 0o077 == 0
    assert "not checked" not in invoke("recipes", "validate", foreign_recipe).stderr
    assert invoke("verifiers", "show", "polite").returncode == 0
    # Another file of the folder may be imported by it.
    (tmp_path / "verifiers" / "_helper.py").write_text("")
    assert "not checked" in invoke("recipes", "validate", foreign_recipe).stderr
    found = of_recipe(load(str(foreign_recipe)).recipe, tmp_path)
    assert untrusted(found, tmp_path) == found
    require(found, tmp_path, trust=True)
    assert untrusted(found, tmp_path) == ()
    assert untrusted(found, tmp_path / "elsewhere") == found


def test_bytecode_that_came_along_is_not_run(foreign_recipe, tmp_path, marker) -> None:
    file, other = tmp_path / "verifiers" / "polite.py", tmp_path / "other.py"
    other.write_text(file.read_text())
    file.write_text(file.read_text().replace("Path(r", "# "))
    cached, unchecked = cache_from_source(str(file)), py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(other), cfile=cached, invalidation_mode=unchecked)
    find("polite", tmp_path)
    assert not marker.exists()


def test_python_asks_too(foreign_recipe, marker, tmp_path) -> None:
    with pytest.raises(UsageError, match=ASKS):
        prerlkit.run(foreign_recipe, tmp_path / "run")
    with pytest.raises(UsageError, match=ASKS):
        prerlkit.evaluate(foreign_recipe.parent, recipe=str(foreign_recipe))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["subprocess:getoutput", "os:popen"])
@pytest.mark.parametrize("folder", ["/", "."])
def test_a_function_of_the_standard_library_is_refused_in_every_folder(name, folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match="nothing marks as a verifier"):
        find(name, Path(folder))


@pytest.mark.parametrize("name", ["subprocess:getoutput", "os:system", "FILE:getoutput"])
def test_a_function_that_is_no_verifier_is_refused_even_when_allowed(name, invoke, recipe_file, marker) -> None:
    import subprocess

    name = name.replace("FILE", subprocess.__file__)
    recipe = recipe_file(verifiers=[{"name": name}])
    done = invoke("verifiers", "audit", recipe)
    assert done.returncode == 2
    assert ASKS in done.stderr
    done = invoke("verifiers", "audit", recipe, "--trust")
    assert done.returncode == 2
    assert "nothing marks as a verifier" in done.stderr or "holds no verifier class" in done.stderr


def test_a_model_asks_again_when_its_config_names_other_code(tmp_path, marker) -> None:
    from prerlkit.recipe.model import Model

    config = tmp_path / "config.json"
    config.write_text("{}")
    model = Model(id=str(tmp_path), trust_remote_code=True)
    require(of_model(model), tmp_path, trust=True)
    require(of_model(model), tmp_path, trust=False)
    config.write_text('{"auto_map": {"AutoModelForCausalLM": "another/repository--model.Model"}}')
    with pytest.raises(UsageError, match=ASKS):
        require(of_model(model), tmp_path, trust=False)


@pytest.mark.parametrize("of", ["verifiers", "model"])
def test_code_that_moves_to_another_folder_asks_again(of, tmp_path, marker) -> None:
    from prerlkit.recipe.model import Model
    from prerlkit.recipe.schema import VerifierConfig

    folder = tmp_path / of
    for name in ("strict", "relaxed"):
        (folder / name).mkdir(parents=True)
    (folder / "polite.py").write_text("from verifiers.strict.rule import rule\n")
    (folder / "strict" / "rule.py").write_text("rule = 1\n")

    def found():
        if of == "model":
            return of_model(Model(id=str(folder), trust_remote_code=True))
        return of_verifiers([VerifierConfig(name="polite")], tmp_path)

    require(found(), tmp_path, trust=True)
    assert untrusted(found(), tmp_path) == ()
    (folder / "strict" / "rule.py").rename(folder / "relaxed" / "rule.py")
    assert untrusted(found(), tmp_path) == found() != ()


def test_an_evaluation_of_a_run_uses_what_its_recipe_was_allowed(
    invoke, foreign_recipe, tmp_path, monkeypatch, marker
) -> None:
    run = tmp_path / "runs" / "one"
    assert invoke("run", foreign_recipe, "-o", run, "--trust", "--quiet").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = invoke("eval", run)
    assert done.returncode == 0, done.stderr
    (tmp_path / "verifiers" / "_helper.py").write_text("")
    done = invoke("eval", run, "-o", "second")
    assert done.returncode == 2
    assert ASKS in done.stderr


def test_the_setting_of_verifier_python_is_a_name_too(tmp_path, marker) -> None:
    from prerlkit.recipe.schema import VerifierConfig

    uses = [VerifierConfig(name="python", settings={"function": "subprocess:getoutput"})]
    (code,) = of_verifiers(uses, tmp_path)
    assert code.key == "verifiers[0].settings.function"


def test_a_marked_function_may_lie_anywhere(tmp_path, monkeypatch) -> None:
    elsewhere = tmp_path / "lib" / "rewards.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text(
        "from prerlkit.verify import judges\n@judges\ndef brief(completion): return len(completion) < 9\n"
        "def other(completion): return True\n"
    )
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    monkeypatch.chdir(recipes)
    assert find(f"{elsewhere}:brief", recipes).name == "brief"
    with pytest.raises(UsageError, match="nothing marks as a verifier"):
        find(f"{elsewhere}:other", recipes)
    assert find(f"{elsewhere}:other", tmp_path).name == "other"
    assert judges(lambda: None)() is None


def test_files_for_losses_and_probes_ask_also_in_a_plan(invoke, recipe_file, tmp_path, marker) -> None:
    (tmp_path / "mine.py").write_text(f"open(r'{marker}', 'w')\n")
    stages = [
        {
            "name": "rl",
            "steps": 1,
            "learning_rate": 0.1,
            "objective": {"preset": "grpo", "loss": {"kind": "mine.py:Loss"}},
        }
    ]
    recipe = recipe_file(stages=stages)
    assert "not checked" in invoke("recipes", "validate", recipe).stderr
    dry = invoke("run", recipe, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "not planned: the plan would run code that you have not allowed (mine.py:Loss)" in dry.stdout
    done = invoke("plan", recipe)
    assert done.returncode == 2
    assert ASKS in done.stderr
    assert "mine.py" in done.stderr
    assert not marker.exists()


def test_a_models_own_code_asks(invoke, recipe_file, tmp_path, marker, tiny_recipe) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "code.py").write_text(f"open(r'{marker}', 'w')\nclass Config: pass\n")
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}
    (model / "config.json").write_text(json.dumps(own))
    whole = tiny_recipe()["model"] | {"id": str(model), "trust_remote_code": True}
    recipe = recipe_file(model=whole)
    for command in (("plan",), ("run",)):
        done = invoke(*command, recipe)
        assert done.returncode == 2
        assert ASKS in done.stderr
        assert "trust_remote_code" in done.stderr
    assert not marker.exists()


def test_what_is_installed_or_packaged_needs_no_flag(monkeypatch, tmp_path) -> None:
    for path in packaged().values():
        assert of_recipe(load(str(path)).recipe, path.parent) == ()
    point = EntryPoint("rhyme", "prerlkit_rhyme.rhyme:Rhyme", "prerlkit.verifiers")
    monkeypatch.setattr(foreign, "entry_points", lambda group: [point])
    assert foreign.code_of("prerlkit_rhyme.rhyme:Rhyme") == []
    assert foreign.code_of("prerlkit_other.rhyme:Rhyme") == ["prerlkit_other.rhyme"]
    # A copy of a built-in verifier's file, as in a checkout, is that verifier.
    (tmp_path / "verifiers").mkdir()
    built_in = Path(find("math").judge.__code__.co_filename)
    (tmp_path / "verifiers" / "math.py").write_bytes(built_in.read_bytes())
    assert foreign.code_of("math", tmp_path) == []
    (tmp_path / "verifiers" / "math.py").write_bytes(built_in.read_bytes() + b"#")
    assert foreign.code_of("math", tmp_path) == [tmp_path / "verifiers" / "math.py"]


def test_a_module_is_found_without_importing_what_is_above_it(tmp_path, monkeypatch, marker) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(f"open(r'{marker}', 'w')\n")
    (tmp_path / "pack" / "mod.py").write_text("def f(completion): return True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert foreign.code_of("pack.mod:f") == [tmp_path / "pack" / "mod.py"]
    assert not marker.exists()


def test_a_store_that_others_wrote_or_that_makes_no_sense_allows_nothing(tmp_path, marker, monkeypatch) -> None:
    from prerlkit import trust
    from prerlkit.recipe.schema import VerifierConfig

    (tmp_path / "r.py").write_text("def f(completion): return True\n")
    found = of_verifiers([VerifierConfig(name=f"{tmp_path}/r.py:f")], tmp_path)
    require(found, tmp_path, trust=True)
    monkeypatch.setattr(trust.os, "geteuid", lambda: 4242)
    assert untrusted(found, tmp_path) == found
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for text in ("[]", "{", '{"a": 3}', "[" * 5000):
        store().parent.mkdir(parents=True, exist_ok=True)
        store().write_text(text)
        assert untrusted(found, tmp_path) == found


@pytest.mark.parametrize(
    "name",
    ["prerlkit.sandbox.host:_output", "prerlkit.plugins:built_in", "prerlkit.files:write_text", "prerlkit.sandbox:run"],
)
def test_functions_of_the_package_itself_are_no_verifiers(name, monkeypatch) -> None:
    """Before: in a checkout they were below the working directory, and rows could start programs without a question."""
    monkeypatch.chdir(Path(prerlkit.__file__).parents[1])
    with pytest.raises(UsageError, match="nothing marks as a verifier"):
        find(name)


def test_another_function_of_an_installed_plugin_is_asked_about(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine_plugin.py").write_text("def judge(completion): ...\ndef clean(path): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("mine", "mine_plugin:judge", foreign.GROUP)
    monkeypatch.setattr(foreign, "entry_points", lambda group: [entry])
    assert foreign.code_of("mine_plugin:judge") == []
    assert foreign.code_of("mine_plugin:clean") == [tmp_path / "mine_plugin.py"]
