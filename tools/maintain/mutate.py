"""Break a module on purpose, one small change at a time, and see whether its tests notice.

    pip install mutmut==3.8.1
    python tools/maintain/mutate.py attention transformer decoding evaluation/captions vqa/scoring

For each module this copies the repository into a temporary folder, lets mutmut change
``mmcourse/MODULE.py`` there, and runs the tests of its package against every change (a mutant). It
prints the changes that no test noticed and the share of mutants that died. It exits with 1 when the
share of a module is below ``--least``. A survivor is either a missing test or a change that makes
no difference.
"""

import argparse
import ast
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("mmcourse", "tests", "tools", "deploy")
FILES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")
DEAD = ("killed", "timeout", "segfault", "suspicious", "caught by type check")


def undecorated(source):
    """Move the decorators of top-level functions to the end of the file: mutmut passes over
    decorated functions. ``cache`` is left out: what it kept from the first run hides every change.
    """
    lines, moved = source.splitlines(), []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            for number in range(node.decorator_list[0].lineno, node.lineno):
                lines[number - 1] = ""
            for decorator in map(ast.unparse, reversed(node.decorator_list)):
                if decorator != "cache":
                    moved.append(f"{node.name} = {decorator}({node.name})")
    return "\n".join(lines + moved) + "\n"


def tests_of(module):
    """The tests of a module, as one string: all of tests/evaluation, or tests/test_decoding*.py and
    for vqa/scoring tests/test_vqa*.py.
    """
    package = module.partition("/")[0]
    if (ROOT / "tests" / package).is_dir():
        return f"tests/{package}"
    found = sorted((ROOT / "tests").glob(f"test_{package}*.py"))
    return "\n    ".join(f"tests/{path.name}" for path in found)


def mutate(module, folder):
    """Return the fate of every mutant of a module, by its name, and the diffs of the survivors."""
    file = f"mmcourse/{module}.py"
    tests = tests_of(module)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / file).write_text(undecorated((ROOT / file).read_text()))
    others = "\n    ".join([*FOLDERS, *FILES])
    paths = f"source_paths=mmcourse\nonly_mutate={file}\nalso_copy=\n    {others}"
    (folder / "setup.cfg").write_text(
        f"[mutmut]\n{paths}\npytest_add_cli_args_test_selection={tests}\n"
    )

    def mutmut(*arguments):
        command = [sys.executable, "-m", "mutmut", *arguments]
        return subprocess.run(command, cwd=folder, text=True, capture_output=True)

    run = mutmut("run", "--max-children", "1")
    fates = dict(
        re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", mutmut("results", "--all", "true").stdout, re.M)
    )
    if run.returncode or not fates:
        raise SystemExit(
            f"mutmut failed on {module}; do its tests pass?\n"
            f"{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
        )
    return fates, [mutmut("show", name).stdout for name, fate in fates.items() if fate not in DEAD]


def main():
    parser = argparse.ArgumentParser(description="Mutation testing of modules of the package.")
    parser.add_argument("modules", nargs="+", help="names of modules, as in: attention decoding")
    parser.add_argument(
        "--least", type=float, default=0.9, help="share of the mutants that must die (0.9)"
    )
    options = parser.parse_args()
    shares = []
    for module in options.modules:
        with tempfile.TemporaryDirectory() as folder:
            fates, survivors = mutate(module, Path(folder))
        print(*survivors, sep="\n")
        shares.append(1 - len(survivors) / len(fates))
        dead = len(fates) - len(survivors)
        print(f"{module}: {dead} of {len(fates)} mutants died, {shares[-1]:.1%}", flush=True)
    return int(min(shares) < options.least)


if __name__ == "__main__":
    sys.exit(main())
