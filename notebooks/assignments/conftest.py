"""Students' notebooks fail until they are filled in; tests/classroom tests them."""

collect_ignore_glob = ["*.ipynb"]
