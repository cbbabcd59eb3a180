"""Makes a site of the documentation: pages that lie elsewhere in the repository, and links that lead there.

MkDocs calls these functions (`hooks` of `mkdocs.yml`). Knows nothing of the broker.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).parents[1]
AT_THE_TOP: Final = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
_LINK: Final = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
_EXAMPLE: Final = re.compile(r"examples/(\w+)\.py")


def on_files(files: Files, config: Any) -> Files:
    """Add what is no page of its own in `docs/`."""
    for name in AT_THE_TOP:
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, name, content=_at_hand(text)))
    files.append(File.generated(config, "examples.md", content=_examples()))
    files.append(File.generated(config, "adr/index.md", content=_decisions()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links to examples lead to their page."""
    return _at_hand(markdown)


def _at_hand(text: str) -> str:
    def link(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        bare = target.removeprefix("../")
        if example := _EXAMPLE.fullmatch(bare):
            return f"](examples.md#{example[1]})"
        if bare in ("examples", "adr"):
            return "](examples.md)" if bare == "examples" else "](adr/index.md)"
        if bare == "LICENSE":
            return "](README.md)"
        return f"]({target}{anchor})"

    return _LINK.sub(link, text)


def _examples() -> str:
    lines = ["# Examples", "", "Each runs against a node on this machine; the tests run all of them."]
    for path in sorted((ROOT / "examples").glob("*.py")):
        lines += ["", f"## {path.stem}", "", "```python", path.read_text().rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _decisions() -> str:
    titles = [(path.name, path.read_text().partition("\n")[0].removeprefix("# ")) for path in _adrs()]
    return "# Decisions\n\n" + "".join(f"- [{title}]({name})\n" for name, title in titles)


def _adrs() -> list[Path]:
    return [path for path in sorted((ROOT / "docs" / "adr").glob("*.md")) if path.name != "index.md"]
