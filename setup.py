"""Put the recipes of models/ and the plug-ins of datamodules/ into the wheel; all else is in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PATTERNS = ("models/*/recipe.yaml", "datamodules/*.py")


class BuildWithRecipes(build_py):
    """Copy the recipes from the place where a checkout has them, which stays the only one to edit."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:  # there they are found in the checkout
            return
        for file in (file for pattern in PATTERNS for file in Path().glob(pattern)):
            target = Path(self.build_lib, "tabvision", "recipes", file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithRecipes})
