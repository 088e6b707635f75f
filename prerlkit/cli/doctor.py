"""`prerlkit doctor`: what this machine offers, what is missing, and the line that installs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import typer

from prerlkit.cli.guard import guarded


@dataclass(frozen=True, slots=True)
class DoctorSection:
    """What one part of the product needs. `fine`: it can be used."""

    title: str
    lines: tuple[str, ...]
    fine: bool


@guarded
def doctor() -> None:
    """Say what this machine offers and what is missing: card, driver, packages, sandbox, disk, Hub.

    Exit code 1 when something that is here can't be used (a card that torch doesn't see, a package outside the accepted
    versions, no sandbox, no room); what is optional and absent is no fault. A Hub token is never shown.
    """
    from prerlkit.quiet import quiet_libraries

    quiet_libraries()
    sections = [section() for section in SECTIONS]
    for section in sections:
        typer.echo(f"{section.title}: {'ok' if section.fine else 'NOT USABLE'}")
        for line in section.lines:
            typer.echo(f"  {line}")
    if not all(section.fine for section in sections):
        raise typer.Exit(1)


def sandbox() -> DoctorSection:
    """For verifiers that run code which a model wrote."""
    from prerlkit.sandbox import host
    from prerlkit.sandbox.layers import GAPS

    found = host.look()
    used = next((name for name, why in found.works.items() if not why), None)
    lines = [
        f"host              {found.system}, as {'root' if found.root else 'an ordinary user'}",
        f"bubblewrap        {f'{found.bwrap_version} ({found.bwrap})' if found.bwrap else 'not installed'}",
        f"user namespaces   {'yes' if found.user_namespaces else 'no'}",
        f"Landlock          {f'version {found.landlock_abi}' if found.landlock_abi else 'no'}",
        f"seccomp filters   {'yes' if found.seccomp else 'no'}",
        f"guests run as     {found.guest_user}",
        *(f"layer {name:<12}{why or 'works'}" for name, why in found.works.items()),
        f"used              {used or 'none: the verifier `code` refuses to run'}",
    ]
    if used is not None:
        lines += [f"gap               {gap}" for gap in GAPS[used]]
    if found.bwrap is None:
        lines.append(f"install           {host.INSTALL}")
    elif found.works["bubblewrap"]:
        lines.append("to allow          namespaces: on the host, sysctl -w user.max_user_namespaces=15000 (on Ubuntu")
        lines.append(
            "                  also kernel.apparmor_restrict_unprivileged_userns=0); in a container, --privileged"
        )
    return DoctorSection("sandbox", tuple(lines), used is not None)


def _looked(title: str, name: str) -> Callable[[], DoctorSection]:
    """A section that `plan.health` fills, imported only when it is asked."""

    def look() -> DoctorSection:
        from prerlkit import doctor as health

        found = {
            "gpu": health.gpu,
            "packages": health.packages,
            "extras": health.extras,
            "disk": health.disk,
            "hub": health.hub,
        }[name]()
        return DoctorSection(title, found.lines, found.fine)

    return look


SECTIONS: tuple[Callable[[], DoctorSection], ...] = (
    _looked("GPU", "gpu"),
    _looked("packages", "packages"),
    _looked("4-bit and engines", "extras"),
    sandbox,
    _looked("disk", "disk"),
    _looked("Hugging Face Hub", "hub"),
)
