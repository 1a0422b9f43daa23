"""The Hugging Face Hub: addresses of runs, the client, and one message for what may go wrong."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misread.errors import RunError, needing
from misread.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>.+))?", re.ASCII)  # a Path has one slash
LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."


@dataclass(frozen=True)
class HubAddress:
    """`hf://USER/NAME` or `hf://USER/NAME@REVISION`: a branch, a tag or a commit; the main branch by default."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")


def hub_address(text: str | Path) -> HubAddress | None:
    """The address that a text or path is; None for a folder on this machine. Raises RunError: a malformed address."""
    given = str(text).replace("\\", "/") if isinstance(text, Path) else text
    if not given.startswith("hf:/"):
        return None
    found = ADDRESS.fullmatch(given)
    if not found:
        raise RunError(f"{given} is not an address on the Hub. Use the form hf://USER/NAME or hf://USER/NAME@REVISION.")
    return HubAddress(found["repo"], found["revision"])


def hub_client(what: str) -> "HfApi":
    """The client of the Hub at `$HF_ENDPOINT`, with the token that huggingface_hub finds.

    Raises RunError: huggingface_hub is missing.
    """
    with needing("hub", what):
        from huggingface_hub import HfApi
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="misread", library_version=__version__)


@contextmanager
def hub_errors(address: HubAddress) -> Iterator[None]:
    """For a block that asks the Hub. Raises RunError: one message instead of the client's errors."""
    from huggingface_hub import errors

    http_error: type[Exception] = vars(errors)["HTTPError"]  # of the HTTP client that this version is built on
    try:
        yield
    except errors.GatedRepoError:
        raise RunError(
            f"{address} is open only to those who accepted its conditions. Do so on its page. {LOG_IN}"
        ) from None
    except errors.RepositoryNotFoundError:
        raise RunError(
            f"There is no repository {address.repo} on the Hub, or your token may not read it. {LOG_IN}"
        ) from None
    except errors.RevisionNotFoundError:
        raise RunError(
            f"{address.repo} has no revision {address.revision!r}. Its page lists branches and tags."
        ) from None
    except errors.HFValidationError as error:
        raise RunError(f"{address} is not an address on the Hub: {_first_line(error)}") from None
    except errors.HfHubHTTPError as error:
        raise RunError(_refused(address, error.response.status_code, error.server_message)) from None
    except errors.OfflineModeIsEnabled:
        raise RunError(f"{address} cannot be reached, because HF_HUB_OFFLINE is set. Unset it.") from None
    except (http_error, errors.LocalEntryNotFoundError, errors.FileMetadataError, ConnectionError) as error:
        raise RunError(
            f"{address} cannot be reached: {_first_line(error)}. Check the network, and try again."
        ) from None


def _refused(address: HubAddress, status: int, message: str | None) -> str:
    if status == 401:
        return f"The Hub does not accept your token. {LOG_IN}"
    if status == 403:
        return f"Your token has no right to this in {address.repo}. Take one with the right to write. {LOG_IN}"
    said = f", {message}" if message else ""
    return f"The Hub answered {status}{said} for {address}. Try again later."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def without_bars() -> Iterator[None]:
    """For a block in which the client shows no progress bars."""
    from huggingface_hub import utils

    bars: Any = utils
    if bars.are_progress_bars_disabled() or "HF_HUB_DISABLE_PROGRESS_BARS" in os.environ:
        yield  # the user has chosen
        return
    bars.disable_progress_bars()
    try:
        yield
    finally:
        bars.enable_progress_bars()
