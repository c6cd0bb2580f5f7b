"""Folders to the Hub: a repository made if need be, and one commit, or a pull request.

In: the folder of a checkpoint with its card. Out: the address of the commit.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankwright.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

NAMELESS = "path/to/this/model"
"""What the snippets of a card call a model that has no name on the Hub yet."""

CARD = "README.md"


@dataclass(frozen=True)
class Destination:
    """Where on the Hub a folder goes, and as whom; `replaces_card` is whether a card that is there gives way."""

    repo_id: str
    token: str | bool | None = None
    private: bool | None = None
    revision: str | None = None
    create_pr: bool = False
    exist_ok: bool = False
    replaces_card: bool = False

    def __str__(self) -> str:
        return f"{self.repo_id!r}" + (f" (revision {self.revision!r})" if self.revision else "")


def upload(folder: Path, to: Destination, *, message: str, description: str = "") -> str:
    """Put the files of a folder on the Hub.

    Args:
        folder: the checkpoint; a card in it gets the repository's name where it says `NAMELESS`.
        to: the repository; its branch is made if there is none.
        message: what the commit is called.
        description: what a pull request says.

    Returns:
        The address of the commit, or of the pull request.

    Raises:
        HubError: the Hub is not there, does not know the user, or refuses; the message says what to do.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=to.token)
    created = ""
    try:
        url = api.create_repo(to.repo_id, private=to.private, exist_ok=to.exist_ok or to.create_pr)
        created = "" if to.exist_ok or to.create_pr else " It is created now: pass exist_ok=True when you try again."
        if to.revision is not None:
            api.create_branch(url.repo_id, branch=to.revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=url.repo_id,
            folder_path=folder,
            commit_message=message,
            commit_description=description,
            revision=to.revision,
            create_pr=to.create_pr,
            ignore_patterns=None if _prepare_card(api, folder, url.repo_id, to) else [CARD],
        )
    except Exception as err:  # a lost connection has no type that all versions of huggingface_hub share
        raise HubError(f"{to} could not be written on the Hub: {_reason(err, to)}{created}") from err
    return str(commit.pr_url if to.create_pr else commit.commit_url)


def _prepare_card(api: "HfApi", folder: Path, name: str, to: Destination) -> bool:
    """Gives the card the model's name; whether it is to be sent: a card that is on the Hub stays, as in ST."""
    card = folder / CARD
    if not card.is_file():
        return False
    if not to.replaces_card and api.file_exists(name, CARD, revision=to.revision):
        logger.warning(
            "%s has a card already, which stays and may tell of another model. Pass replace_model_card=True to send "
            "this model's card.",
            to,
        )
        return False
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(f'"{NAMELESS}"', f'"{name}"'), encoding="utf-8")
    return True


def _reason(err: Exception, to: Destination) -> str:
    """What went wrong, and what to do about it."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    if isinstance(err, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE=1 forbids it. Unset it to publish."
    if isinstance(err, HFValidationError):
        return "that is no name on the Hub. Expected 'organization/name', of letters, digits, '-', '_' and '.'."
    login = "Log in with `hf auth login`, set HF_TOKEN, or pass token=."
    if isinstance(err, LocalTokenNotFoundError):
        return f"nobody is logged in here. {login}"
    if not isinstance(err, HfHubHTTPError):
        return f"{type(err).__name__}: {err}. Check the connection."
    status = err.response.status_code
    if status == 401:
        return f"the Hub does not know who you are, or not this token. {login}"
    if status in (403, 404):
        owner = to.repo_id.rpartition("/")[0]
        return f"your token may not write there. Use one with the right to write for {owner or 'your user'!r}."
    if status == 409:
        return "there is such a repository. Pass exist_ok=True to add a commit to it, or take another name."
    return f"it answered {err}"
