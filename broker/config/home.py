"""Where WSO2's server has the files that its configuration names by relative paths: below its home (andes §1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def found_in_home(location: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Return the path of a file, as it is unless it is relative and the file lies in the home of WSO2's server.

    The home is the environment variable CARBON_HOME; if that is not set, the current directory, and then the folder in
    which `folder`, the configuration's, is `conf` or `repository/conf`.
    """
    path = Path(location)
    if not location or path.is_absolute():
        return location
    if home := environ.get("CARBON_HOME"):
        return str(Path(home) / path)
    home_of_conf = _home_of(folder.absolute())
    if home_of_conf is not None and not path.exists() and (home_of_conf / path).exists():
        return str(home_of_conf / path)
    return location


def home_of(folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the home of WSO2's server that a configuration folder belongs to: CARBON_HOME, the one around a folder
    `conf` or `repository/conf`, or the current directory.
    """
    return Path(environ.get("CARBON_HOME") or _home_of(folder.absolute()) or Path.cwd())


def _home_of(folder: Path) -> Path | None:
    if folder.name != "conf":
        return None
    return folder.parent.parent if folder.parent.name == "repository" else folder.parent
