"""The students' notebooks are made to fail until they are filled in; tests/classroom/test_assignments.py tests them."""

collect_ignore_glob = ["*.ipynb"]
