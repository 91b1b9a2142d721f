"""Makes a virtual environment that holds exactly what requirements.lock lists, and this package.

    python3 tools/environment.py .venv [more packages, by plain pip]
    python3 tools/environment.py .venv-lowest --lowest      (the lowest versions that settings.ini allows, and what
    tests need)

Run by make. It is written so that an old Python can still say what is wrong. Running it again does no harm.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST, UV = (3, 11), (3, 13), "uv==0.13.9"
LEFT_OUT = (
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_USER",
)  # of the caller's own environment
ROOT = Path(__file__).resolve().parent.parent


def refuse(message):
    sys.exit("environment: " + message)


def check():
    "Says at once what would otherwise fail minutes later."
    found = "%d.%d" % sys.version_info[:2]
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        refuse(
            "%s is Python %s; 3.11, 3.12 or 3.13 is needed. Choose one: make PYTHON=python3.12 ..."
            % (sys.executable, found)
        )
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            refuse(
                "%s lacks %s, so it cannot make a virtual environment. On Debian and Ubuntu: apt-get install "
                "python%s-venv" % (sys.executable, module, found)
            )


def run(*command):
    "One step; its output is shown, and a failure ends everything with the command that failed."
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    if subprocess.run([str(word) for word in command], cwd=str(ROOT), env=environment).returncode:
        refuse("this command failed: %s" % " ".join(map(str, command)))


def works(python):
    "Whether an environment is there, of a Python that will do, with pip in it."
    if not python.exists():
        return False
    test = "import pip, sys; sys.exit(not %r <= sys.version_info[:2] <= %r)" % (OLDEST, NEWEST)
    return subprocess.run([str(python), "-c", test], stderr=subprocess.DEVNULL).returncode == 0


LOWEST = ("hypothesis", "pytest", "pytest-xdist", "setuptools", "beartype")  # to test with: the newest that fit


def lowest(folder, python):
    "The lowest versions of what settings.ini names; what these need in turn is as new as it gets."
    uv, listed = (python, "-m", "uv", "pip"), folder / "lowest.txt"
    run(
        *uv,
        "compile",
        "--quiet",
        "setup.py",
        "--extra",
        "onnx",
        "--extra",
        "inpaint",
        "--resolution",
        "lowest-direct",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--python",
        python,
        "-o",
        listed,
    )
    run(*uv, "install", "--quiet", "--python", python, "-r", listed)
    run(*uv, "install", "--quiet", "--python", python, *LOWEST)
    run(*uv, "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", "-e", ".")


def main(folder, *extra):
    folder = ROOT / folder
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not works(python):
        check()
        if folder.exists():
            if not (folder / "pyvenv.cfg").exists():
                refuse("%s is in the way and is no virtual environment. Move it away." % folder)
            shutil.rmtree(str(folder))
        run(sys.executable, "-m", "venv", folder)
    pip, uv = (python, "-m", "pip"), (python, "-m", "uv", "pip")
    run(*pip, "install", "--quiet", "--disable-pip-version-check", UV)
    if extra == ("--lowest",):
        return lowest(folder, python)
    run(
        *uv,
        "install",
        "--quiet",
        "--compile-bytecode",
        "--python",
        python,
        "--require-hashes",
        "-r",
        "requirements.lock",
    )
    if extra:
        run(*pip, "install", "--quiet", "--disable-pip-version-check", *extra)
    run(*uv, "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", "-e", ".")


if __name__ == "__main__":
    main(*(sys.argv[1:] or [".venv"]))
