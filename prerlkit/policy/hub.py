"""Files from the Hugging Face Hub, and its errors as messages for the user."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prerlkit.errors import PrerlkitError


@dataclass(frozen=True, slots=True)
class Wanted:
    """A repository, or a part of it.

    Attributes:
        repo: its id, `name/model`.
        revision: commit, tag or branch; None: the default branch.
        files, not_files: patterns.
        what: its kind in messages: model, adapter.
        key: the recipe's key that names it; revision_key: the one that names its revision.
    """

    repo: str
    revision: str | None
    files: Sequence[str]
    not_files: Sequence[str] = ()
    what: str = "model"
    key: str = "model.id"
    revision_key: str = "model.revision"


def snapshot(wanted: Wanted) -> Path:
    """Return the folder of the wanted files in the Hub cache, downloaded if need be; it is named by the commit.

    Raises:
        PrerlkitError: they can't be had, with what to do.
    """
    from huggingface_hub import errors, snapshot_download

    what = wanted.what
    name = f'"{wanted.repo}"' + (f' at revision "{wanted.revision}"' if wanted.revision else "")
    elsewhere = f"Or use a local folder as {wanted.key}, or set HF_ENDPOINT to a mirror."
    try:
        path = snapshot_download(
            wanted.repo,
            revision=wanted.revision,
            allow_patterns=list(wanted.files),
            ignore_patterns=list(wanted.not_files),
        )
    except errors.GatedRepoError as error:
        raise PrerlkitError(
            f"The Hub keeps {name} for people who accepted its terms.",
            f"Accept them on the {what}'s page, then run `hf auth login`, or use a local folder as {wanted.key}.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PrerlkitError(f"The Hub has the {what} but not {name}.", f"Check {wanted.revision_key}.") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise PrerlkitError(
            f"The Hub has no {what} {name}, or it is private.",
            f"Check the spelling; for a private {what} run `hf auth login`. {elsewhere}",
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        if status := http_status(error):
            raise PrerlkitError(
                f"The Hub answered {status} for {name}"
                + (": it asks for fewer requests." if status == 429 else f", and the {what} is not in the Hub cache."),
                f"Wait some minutes and try again. {elsewhere}",
            ) from error
        raise PrerlkitError(
            f"{name} is not in the Hub cache, and the Hub can't be reached (no network, or HF_HUB_OFFLINE is set).",
            f"Run once with a network. {elsewhere}",
        ) from error
    except (errors.HTTPError, OSError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        why = "no space is left in the Hub cache (HF_HOME moves it)" if full else f"{type(error).__name__}: {error}"
        raise PrerlkitError(f"Could not download {name}: {why}", f"Try again later. {elsewhere}") from error
    return Path(path)


def cached(repo: str, revision: str | None, file: str) -> Path | None:
    """Return the folder in the Hub cache that has `file` of that revision, or None. No network is used."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found).parent if isinstance(found, str) else None  # it also has a mark for "known not to exist"


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status at the root of an error of the Hub's library; None where no answer came."""
    while error is not None:
        response = error.response if hasattr(error, "response") else None
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None
