"""Hooks of mkdocs: pages that live outside of docs/ come into the site, and links follow files to where they are in it.

A file is written once and read in two places: README.md is the first page of the site, results/ are pages of it. So
links are written as they are right in the repository. Here they are turned to the site, and what is not in the site
(a script, a table of rows) becomes its path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "RELEASING.md": "project/releasing.md",
    "SECURITY.md": "project/security.md",
    "demo/README.md": "project/demo-photographs.md",
}
"""Path in the repository -> path in the site. docs/PATH is PATH; pages and pictures of results/ keep theirs."""

FETCHED = "https://unpkg.com/iframe-worker/shim"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def outside() -> dict[str, str]:
    """The files outside of docs/ that are part of the site: path in the repository -> path in the site."""
    results = [path for kind in ("md", "png", "webp") for path in (ROOT / "results").rglob(f"*.{kind}")]
    names = sorted(path.relative_to(ROOT).as_posix() for path in results)
    return {name: site for name, site in PAGES.items() if (ROOT / name).exists()} | {name: name for name in names}


def relinked(markdown: str, source: str, target: str) -> str:
    """The text of a page with links for the site. source: its path in the repository, target: its path in the site."""
    pages = outside()

    def link(match: re.Match[str]) -> str:
        mark, text, given = match.groups()
        path, hash_mark, anchor = given.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return match[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if (ROOT / wanted).is_dir() and f"{wanted}/README.md" in pages:
            wanted += "/README.md"
        site = pages.get(wanted) or (wanted.removeprefix("docs/") if wanted.startswith("docs/") else None)
        if site is None:
            return f"{text} (`{wanted}`)" if (ROOT / wanted).exists() and text.strip("`") != wanted else f"`{wanted}`"
        return f"{mark}[{text}]({posixpath.relpath(site, posixpath.dirname(target))}{hash_mark}{anchor})"

    return LINK.sub(link, markdown)


def on_files(files: Files, config: Any) -> Files:
    """Adds the files outside of docs/."""
    for name, site in outside().items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns the links of a page to the site."""
    site = page.file.src_uri
    source = {to: name for name, to in outside().items()}.get(site, f"docs/{site}")
    return relinked(markdown, source, site)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Takes the one script that the theme would fetch from the site; search in a site opened as files needs it."""
    assets = posixpath.relpath("assets", posixpath.dirname(page.file.dest_uri))
    return output.replace(FETCHED, f"{assets}/iframe-worker.js")


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """Takes it out of the page for addresses that lead nowhere, which does not know where it is."""
    return output_content.replace(f'<script src="{FETCHED}"></script>', "")
