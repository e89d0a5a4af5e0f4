"""The index from which ReaPack installs the script in REAPER: `python -m integrations.reapack BASE`.

BASE is where a copy of this project can be downloaded file by file, such as a repository's raw view on the web.
Format: https://github.com/cfillion/reapack/wiki/Index-Format, and what
https://github.com/cfillion/reapack-index writes.
"""

from __future__ import annotations

import re
import sys
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as Xml

from integrations.reaper import ACTIONS, SCRIPT
from integrations.scripts import REMOTE
from models.errors import UserError

MAIN = "descant.lua"
WITHIN = "integrations/remote"  # of the project


def header(name: str) -> dict[str, str]:
    """The tags at the head of a script, such as @version."""
    text = (REMOTE / "reaper" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^-- @(\w+) (.+)$", text, re.MULTILINE))


def index(base: str) -> str:
    """The index as XML. UserError where `base` is no address."""
    address = urlsplit(base)
    if address.scheme != "https" or not address.netloc:
        raise UserError(f'"{base}" is no address to download from', "It begins with https://.")
    about = header(MAIN)
    root = Xml.Element("index", version="1", name="Descant")
    category = Xml.SubElement(root, "category", name="MIDI")
    package = Xml.SubElement(category, "reapack", name=MAIN, type="script", desc=about["description"])
    version = Xml.SubElement(package, "version", name=about["version"], author=about["author"])
    actions = {f"descant_{action}.lua" for action in ACTIONS}
    for name, source in SCRIPT.files:
        said = {"file": name} if name != MAIN else {}
        if name in actions:
            said["main"] = "main"  # it stands in the list of actions
        Xml.SubElement(version, "source", said).text = f"{base.rstrip('/')}/{quote(f'{WITHIN}/{source}')}"
    Xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


if __name__ == "__main__":
    try:
        sys.stdout.write(index(sys.argv[1] if len(sys.argv) == 2 else ""))
    except UserError as error:
        sys.exit(f"{error.message}. {error.hint}")
