"""Whether the program can work on this system at all; asked before anything else is imported."""

from __future__ import annotations


def refusal(platform: str, python: tuple[int, int]) -> str:
    """Return why the program can't work here and what to do, or "" where it can.

    Locks of run folders, limits of verifiers and the end of their processes need calls that Windows doesn't have
    (`fcntl`, `resource`, `os.waitid`). Python has the last one on macOS since 3.13.

    Args:
        platform: as `sys.platform`.
        python: major and minor version.
    """
    if platform == "win32":
        return (
            "prerlkit needs Linux or macOS: Windows has no locks and process limits of the kind that it uses.\n"
            "On Windows install WSL 2 (`wsl --install`), and install and run prerlkit inside it."
        )
    if platform == "darwin" and python < (3, 13):
        return (
            f"prerlkit needs Python 3.13 on macOS, and this is {python[0]}.{python[1]}.\nInstall it with Python 3.13."
        )
    return ""
