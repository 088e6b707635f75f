"""The Hub for push: the user, the present files, one commit; and its refusals as messages that name a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.hub import http_status

TOKENS = "https://huggingface.co/settings/tokens"
_AGAIN = "Files that have arrived are not sent again: repeat the same command to continue."


@dataclass(frozen=True, slots=True)
class HubRepo:
    """The present state of a repository.

    Attributes:
        sha: commit of the revision; None when there is no repository (or no such revision) yet.
        files: in it.
        private: None when it does not exist.
    """

    sha: str | None
    files: tuple[str, ...]
    private: bool | None


class Hub:
    """A connection with a token that may write to `repo`, checked when it is made.

    Raises:
        UsageError: no token, a wrong one, one that may only read, or a repository name that is none.
    """

    def __init__(self, repo: str, revision: str | None = None) -> None:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils import HFValidationError, validate_repo_id

        try:
            validate_repo_id(repo)
        except HFValidationError as error:
            raise UsageError(f'"{repo}" is not a repository name: {error}', "Write it as user/name.") from error
        if repo.count("/") != 1:
            raise UsageError(f'"{repo}" has no owner.', "Write it as user/name.")
        self.repo, self.revision = repo, revision
        self.token = get_token()
        if not self.token:
            raise UsageError(
                "There is no token for the Hub.",
                f"Run `hf auth login`, or set HF_TOKEN. Tokens are made at {TOKENS}; it needs the right to write.",
            )
        self._api = HfApi(token=self.token, library_name="prerlkit")
        with explained(repo, "asking who this token belongs to"):
            self._check_token(self._api.whoami())

    def look(self) -> HubRepo:
        """Return the repository's present state."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with explained(self.repo, "looking at the repository"):
            try:
                info = self._api.model_info(self.repo, revision=self.revision)
            except RevisionNotFoundError:
                whole = self._api.model_info(self.repo)
                return HubRepo(None, (), whole.private)
            except RepositoryNotFoundError:
                return HubRepo(None, (), None)
        return HubRepo(info.sha, tuple(s.rfilename for s in info.siblings or ()), info.private)

    def read(self, name: str) -> bytes | None:
        """Return a small file of the repository; None where there is none."""
        from huggingface_hub.errors import EntryNotFoundError

        with explained(self.repo, f"reading {name}"):
            try:
                path = self._api.hf_hub_download(self.repo, name, revision=self.revision)
            except EntryNotFoundError:
                return None
        return Path(path).read_bytes()

    def license_of(self, model: str) -> str | None:
        """Return the licence that a model's card names; None when it can't be learned."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError

        try:
            data = self._api.model_info(model).card_data
        except (HfHubHTTPError, HTTPError, OSError):
            return None
        found = data.get("license") if data else None
        return found if isinstance(found, str) else None

    def commit(
        self, files: Mapping[str, Path | bytes], delete: Sequence[str], remote: HubRepo, *, private: bool, message: str
    ) -> str:
        """Create what is missing, send files that have not arrived, and make one commit of them; return its address.

        Large files go first and one by one: an interrupted upload loses one file at most. Users never see an incomplete
        repository.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        additions = [CommitOperationAdd(name, content) for name, content in sorted(files.items())]
        with explained(self.repo, "making the repository"):
            if remote.private is None:
                self._api.create_repo(self.repo, private=private, exist_ok=True)
            if self.revision and remote.sha is None:
                self._api.create_branch(self.repo, branch=self.revision, exist_ok=True)
        for addition in additions:
            with explained(self.repo, f"uploading {addition.path_in_repo}", hint=_AGAIN):
                self._api.preupload_lfs_files(self.repo, [addition], revision=self.revision, free_memory=False)
        with explained(self.repo, "making the commit", hint=_AGAIN):
            info = self._api.create_commit(
                self.repo,
                [*additions, *(CommitOperationDelete(name) for name in delete)],
                commit_message=message,
                revision=self.revision,
                parent_commit=remote.sha,
            )
        return str(info.commit_url)

    def _check_token(self, who: dict[str, Any]) -> None:
        """Raise UsageError if the Hub shows that the token may not write to the repository."""
        token = who.get("auth", {}).get("accessToken", {})
        name, role = who.get("name", "?"), token.get("role")
        if role == "read":
            raise UsageError(
                f'The token "{token.get("displayName", "")}" of {name} may only read.',
                f"Make one that may write at {TOKENS}, then `hf auth login` or set HF_TOKEN.",
            )
        if role == "fineGrained":
            scopes = token.get("fineGrained", {}).get("scoped", [])
            if not any("repo.write" in scope.get("permissions", []) for scope in scopes):
                raise UsageError(
                    f"The fine-grained token of {name} has no right to write to repositories.",
                    f'Give it "Write access to contents of repos" at {TOKENS}.',
                )
        owner = self.repo.partition("/")[0]
        owners = [name, *(org.get("name") for org in who.get("orgs", []))]
        if owner not in owners:
            raise UsageError(
                f'The token belongs to {name}, who can\'t write to repositories of "{owner}".',
                f"Use --repo {owners[0]}/{self.repo.partition('/')[2]}, or a token of {owner}.",
            )


@contextmanager
def explained(repo: str, doing: str, hint: str = "") -> Iterator[None]:
    """Turn errors of the Hub or the network into a PrerlkitError of one paragraph."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UsageError("HF_HUB_OFFLINE is set, so nothing can be uploaded.", "Unset it.") from error
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        status = http_status(error)
        if status is None and not isinstance(error, HTTPError | OSError | RuntimeError):
            raise PrerlkitError(f"The Hub's answer while {doing} makes no sense: {error}", hint) from error
        message, advice = _said(status, repo, doing, error)
        raise PrerlkitError(message, f"{advice} {hint}".strip()) from error


def _said(status: int | None, repo: str, doing: str, error: BaseException) -> tuple[str, str]:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    detail = (str(root).strip().splitlines() or [type(root).__name__])[0]
    match status:
        case None:
            return f"The connection broke off while {doing}: {detail}", "Check the network."
        case 401:
            return f"The Hub does not know this token (401, {doing}).", f"Make a new one at {TOKENS}; `hf auth login`."
        case 403:
            return f"The token may not do this with {repo} (403, {doing}).", f"It needs the right to write: {TOKENS}."
        case 404:
            return f"{repo} is gone or hidden from this token (404, {doing}).", "Check its name and the token."
        case 409 | 412:
            return f"{repo} changed while it was being written to ({status}, {doing}).", "Look at it, then push again."
        case 413 | 422 | 400:
            return f"The Hub refused the content ({status}, {doing}): {detail}", "Check the model card and file sizes."
        case 429:
            return f"The Hub asks for fewer requests (429, {doing}).", "Wait some minutes."
        case _:
            return f"The Hub has an internal error ({status}, {doing}).", "See status.huggingface.co; try again later."
