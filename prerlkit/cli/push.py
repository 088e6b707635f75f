"""`prerlkit push`: a run on the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Checkpoint, Run, Trust, Verbose, say
from prerlkit.cli.visible import echo


@guarded
def push(
    run: Run,
    repo: Annotated[str, typer.Option("--repo", metavar="USER/NAME", help="Where to; made if it isn't there.")],
    merged: Annotated[bool, typer.Option("--merged", help="The merged model instead of the adapter.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[str | None, typer.Option("--revision", help="A branch; made if it isn't there.")] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="USER/MODEL", help="The base on the Hub, where the run took it from elsewhere."),
    ] = None,
    license: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Such as apache-2.0; the base's if the Hub knows it.")
    ] = None,
    checkpoint: Checkpoint = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace other contents of the repository; its history keeps them.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files and show the card; nothing is sent.")
    ] = False,
    trust: Trust = False,
    verbose: Verbose = False,
) -> None:
    """Upload a run's adapter, or its merged model, with a model card and the recipe.

    [bold]prerlkit push runs/quickstart_dsrl --repo me/sums --merged --dry-run[/bold]
      see the card and the files
    [bold]prerlkit push runs/mine --repo me/mine --private[/bold]
      the adapter, for yourself

    The token comes from `hf auth login` or HF_TOKEN. What was uploaded when a push broke off is not sent again: repeat
    the command. Every file is looked through for secrets and for paths of this machine first.
    """
    report = say(verbose)  # before anything heavy is imported
    from prerlkit.publish.push import push as push_run

    pushed = push_run(
        run,
        repo,
        merged=merged,
        private=private,
        revision=revision,
        base=base,
        license=license,
        checkpoint=checkpoint,
        overwrite=overwrite,
        dry_run=dry_run,
        trust=trust,
        report=report,
    )
    if dry_run:
        echo(pushed.card)
    for name, size in pushed.files.items():
        echo(f"{size:>14,}  {name}")
    for note in pushed.notes:
        echo(f"note: {note}")
    echo(f"pushed: {pushed.url}" if pushed.url else f"dry run: nothing was sent to {repo}")
