"""The students' notebooks are made to fail until they are filled in; tests/assignments/ tests them."""

collect_ignore_glob = ["*.ipynb"]
