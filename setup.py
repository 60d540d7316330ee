"""What pyproject.toml cannot say: the page of the package index is the README, whose links lead nowhere there.

With TRIPTYCH_URL=https://github.com/someone/triptych in the environment of the build, they lead to that repository, and
the package says where its home is. Without, pictures and links into the repository are left out of that page. The
README itself stays as it is.
"""

import os
import re
from pathlib import Path

HERE = Path(__file__).parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")
"""A picture or a link to a file of the repository."""
CAPTION = re.compile(r"!\[[^\]]*\]\((?![a-z]+:)[^)\s]+\)\n\n\*[^*]+\*\n")
"""A picture of the repository and the words below it."""


def page(text: str, url: str, version: str) -> str:
    """The README as it reads elsewhere than in the repository."""

    def there(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if not url:
            return "" if picture else words
        return f"{picture}[{words}]({url}/{'raw' if picture else 'blob'}/v{version}/{target})"

    text = text if url else CAPTION.sub("", text)
    return re.sub(r"\n{3,}", "\n\n", LINK.sub(there, text))


def homes(url: str) -> dict[str, str]:
    """The links of the package's page."""
    if not url:
        return {}
    return {
        "Source": url,
        "Documentation": f"{url}/tree/main/docs",
        "Issues": f"{url}/issues",
        "Changelog": f"{url}/blob/main/CHANGELOG.md",
    }


if __name__ == "__main__":
    from setuptools import setup

    url = os.environ.get("TRIPTYCH_URL", "").rstrip("/")
    version = re.search(r'^version = "(.+)"', (HERE / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    setup(
        long_description=page((HERE / "README.md").read_text(encoding="utf-8"), url, version[1]),
        long_description_content_type="text/markdown",
        project_urls=homes(url),
    )
