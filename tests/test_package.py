"""The package as people get it: wheel, editable and checkout, beside the PyPI package that is named `verifiers` too."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOOK = """
import json, sys
import prerlkit, prerlkit.verifiers.math as ours, verifiers as theirs
from prerlkit.recipe.load import packaged
from prerlkit.verify.registry import find
print(json.dumps({
    "prerlkit": prerlkit.__file__,
    "ours": ours.__file__,
    "theirs": theirs.whose,
    "by_name": find("math").__module__,
    "recipes": sorted(packaged()),
}))
"""


@pytest.fixture
def environment(tmp_path):
    """A virtual environment that has our dependencies and a stand-in of PyPI's `verifiers`, but no prerlkit."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "verifiers").mkdir()
    (packages / "verifiers" / "__init__.py").write_text("whose = 'theirs'\n")
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    for place in map(Path, site.getsitepackages()):
        for entry in place.iterdir() if place.is_dir() else ():
            if "prerlkit" not in entry.name and not (dependencies / entry.name).exists():
                (dependencies / entry.name).symlink_to(entry)
    (packages / "dependencies.pth").write_text(str(dependencies))
    return folder


def install(environment: Path, *args: str) -> None:
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*command, "--no-build-isolation", "--disable-pip-version-check", "--force-reinstall", *args],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def look(environment: Path, cwd: Path, **env: str) -> dict:
    import json

    python = environment / "bin" / "python"
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", LOOK], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (path,) = folder.glob("prerlkit-*.whl")
    return path


RECIPES = sorted(str(p.relative_to(ROOT / "recipes").with_suffix("")) for p in (ROOT / "recipes").rglob("*.yaml"))


def test_the_wheel_holds_all_verifiers_and_recipes_and_no_top_level_folder_of_that_name(wheel):
    with zipfile.ZipFile(wheel) as zipped:
        names = zipped.namelist()
    for folder, ending in (("verifiers", "*.py"), ("recipes", "*.yaml")):
        files = sorted((ROOT / folder).rglob(ending))
        assert files
        for file in files:
            assert f"prerlkit/{folder}/{file.relative_to(ROOT / folder)}" in names
    for room in ("page", "report"):
        parts = [file for kind in ("assets", "templates") for file in (ROOT / "prerlkit" / room / kind).iterdir()]
        assert len(parts) >= 6
        assert [file.name for file in parts if str(file.relative_to(ROOT)) not in names] == []
    assert any(name.endswith("licenses/prerlkit/page/assets/uPlot.LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"prerlkit"}


def test_installed_from_a_wheel(environment, wheel, tmp_path):
    install(environment, str(wheel))
    seen = look(environment, tmp_path)
    assert seen["theirs"] == "theirs"
    assert Path(seen["ours"]).is_relative_to(environment)
    assert seen["by_name"] == "prerlkit.verifiers.math"
    assert seen["recipes"] == RECIPES
    script = (environment / "bin" / "prerlkit").read_text()
    assert "prerlkit.cli" in script


def test_installed_editable(environment, tmp_path):
    install(environment, "--editable", str(ROOT))
    seen = look(environment, tmp_path)
    assert seen["theirs"] == "theirs"
    assert seen["ours"] == str(ROOT / "verifiers" / "math.py")
    assert seen["prerlkit"] == str(ROOT / "prerlkit" / "__init__.py")
    assert seen["recipes"] == RECIPES


@pytest.mark.parametrize("way", ["working directory", "PYTHONPATH"])
def test_a_bare_checkout(environment, tmp_path, way):
    """Our top-level folder `verifiers/` is then in front of theirs on the path, and still does not hide it."""
    seen = look(environment, ROOT) if way == "working directory" else look(environment, tmp_path, PYTHONPATH=str(ROOT))
    assert seen["theirs"] == "theirs"
    assert seen["ours"] == str(ROOT / "verifiers" / "math.py")
    assert seen["recipes"] == RECIPES


@pytest.mark.network
def test_the_real_verifiers_package_stays_importable(environment, wheel, tmp_path):
    """PyPI's own wheel, without its dependencies: what matters is which package the name finds."""
    (packages,) = environment.glob("lib/python*/site-packages")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), "verifiers"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip could not download it: {done.stderr.strip().splitlines()[-1]}")
    (theirs,) = tmp_path.glob("verifiers-*.whl")
    (packages / "verifiers" / "__init__.py").unlink()
    with zipfile.ZipFile(theirs) as zipped:
        zipped.extractall(packages)
    install(environment, str(wheel))
    code = "import importlib.util as u, prerlkit.verifiers.math; print(u.find_spec('verifiers').origin)"
    found = subprocess.run([environment / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == packages / "verifiers" / "__init__.py"
