"""Which evaluation of a run was the best, and whether there is hope for a better one."""

import math


def best_row(rows, name):
    """The first of the rows with the highest number of this ``name``; None if none has a number."""
    evaluated = rows_with(rows, name)
    return max(evaluated, key=lambda row: row[name], default=None)  # max takes the first of equals


def is_exhausted(rows, name, patience):
    """Whether the last ``patience`` evaluations were no better than before; never if it is 0."""
    if not patience:
        return False
    steps = [row["step"] for row in rows if name in row]
    best = best_row(rows, name)
    since = sum(best is None or step > best["step"] for step in steps)
    return since >= patience


def rows_with(rows, name):
    """The rows that have a number of this name, and not NaN."""
    return [row for row in rows if not math.isnan(row.get(name, math.nan))]
