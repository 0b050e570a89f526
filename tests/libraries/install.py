"""JavaScript libraries of others, fetched by npm as package-lock.json pins them; tests skip where that can't be."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 120


def install(folder: Path) -> Path:
    """Returns the folder node_modules. Skips the test where there is no node or npm, or npm can't fetch."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here: apt-get install nodejs npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not fetch the libraries in {SECONDS} seconds")
    if done.returncode:
        pytest.skip(f"npm can't fetch the libraries: {done.stderr.strip()[-300:]}")
    return folder / "node_modules"
