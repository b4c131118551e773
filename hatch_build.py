"""Builds the page of `dpc web` (web/, with node and npm) before it is packed, so that installing a wheel takes no node.

Where node is missing, as on a user's machine that builds from a source distribution, what is there already is taken;
without any, `dpc web` says what to do. With DPC_WEB=required in the environment, as for a release, that is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuildPage(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        page = root / "src" / "dpc" / "web" / "static" / "index.html.gz"
        if version == "editable" or page.exists():
            return
        try:
            if not (root / "web" / "package-lock.json").exists() or not shutil.which("npm"):
                raise FileNotFoundError("npm is not here, it comes with node 20 or newer")
            for command in ("ci --ignore-scripts --no-audit --no-fund", "run build", "run place"):
                subprocess.run(["npm", *command.split()], cwd=root / "web", check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("DPC_WEB") == "required":
                raise
            self.app.display_warning(f"the page of `dpc web` is left out: {error}")
