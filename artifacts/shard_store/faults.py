"""What goes wrong at a place that is not a folder, in words that show no credentials."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

_FAULTS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
}
"""Errors that are no OSError, of packages that fsspec has for a place. A package that was not loaded raised none."""

_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def remote_faults() -> tuple[type[Exception], ...]:
    """The exceptions by which a place says that it refuses, or that it cannot be reached."""
    loaded = {module: names for module, names in _FAULTS.items() if module in sys.modules}
    found = [getattr(sys.modules[module], name) for module, names in loaded.items() for name in names]
    return (OSError, *found)


# A password may have a slash in it: behind a colon and no port, anything up to the last @ may be one.
_URL_CREDENTIALS = re.compile(r"(\w+://)([^/\s:]*:(?!\d+/)\S*|[^/\s]*)@")


def credentials_in(url: str) -> tuple[str, ...]:
    """What stands before the host of a URL, whole and in its parts; nothing if there is nothing."""
    found = _URL_CREDENTIALS.match(url)
    return tuple(filter(None, (found[2], *found[2].split(":")))) if found else ()


def without_credentials(text: object, hidden: Sequence[str] = ()) -> str:
    """The text without users and passwords in URLs, without URLs' queries, this process's keys, and what is hidden."""
    shown = _URL_CREDENTIALS.sub(r"\1", str(text))
    shown = re.sub(r"(\w+://[^\s?\"']*)\?[^\s\"']*", r"\1", shown)
    for secret in (*hidden, *filter(None, map(os.environ.get, _SECRETS))):
        shown = shown.replace(secret, "***")
    return shown
