"What is done without the extras, whose packages are hidden from an import here."

import configparser
import os
import re
import subprocess
import sys

HIDING = """
import runpy, sys

class Hidden:
    "Finds nothing of some packages."
    names = set(sys.argv.pop(1).split())

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

sys.meta_path.insert(0, Hidden())
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
CALLED = {"scikit-image": "skimage", "pytest-xdist": "xdist", "axe-playwright-python": "axe_playwright_python"}


def test_what_works_without_extras(root, vgg16_weights, tmp_path):
    "All that an extra brings, and what builds and tests, is hidden."
    config = configparser.ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    extras = " ".join(config["DEFAULT"][f"{extra}_requirements"] for extra in ("onnx", "inpaint", "dev")).split()
    names = {CALLED.get(name, name) for name in (re.split("[<>=]", one)[0] for one in extras)}
    assert {"onnx", "onnxruntime", "skimage", "nbdev"} <= names
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            HIDING,
            " ".join(sorted(names | {"torch"})),
            root / "tests" / "plain_install.py",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"INNER_DETECTORS_HOME": str(vgg16_weights.parent.parent)},
    )
    assert done.returncode == 0 and done.stdout.endswith("all of it works without extras\n"), done.stderr
