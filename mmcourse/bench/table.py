"""What was found, as text: a line for each row, and remarks under it."""

COLUMNS = ("what", "sizes", "ours", "peer", "ratio", "goal", "reached")
WIDTHS = (47, 31, 16, 16, 23, 8, 7)
LEAST = 0.02  # share of the time; less is not shown


def heading(found):
    """The machine, and the names of the columns."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    return f"{machine}\n{align(COLUMNS)}"


def lines(row):
    """A row and its remarks."""
    return "\n   ".join([align(cells(row)), *remarks(row)])


def align(texts):
    """Texts in columns."""
    padded = [text.ljust(width) for text, width in zip(texts, WIDTHS, strict=True)]
    return "  ".join(padded).rstrip()


def cells(row):
    """A row as seven texts, see ``COLUMNS``; the quartiles of the ratio are in brackets."""
    ratio = "–"
    if "ratio" in row:
        ratio = f"{row['ratio']:.2f}"
    if "spread" in row:
        low, high = row["spread"]
        ratio = f"{ratio} ({low:.2f} to {high:.2f})"
    return [
        row["what"],
        row["sizes"],
        amount(row, "ours"),
        amount(row, "peer"),
        ratio,
        row["goal"] or "–",
        row.get("reached") or "–",
    ]


def amount(row, side):
    """What ``ours`` or the ``peer`` reached, with three digits and the unit."""
    if side not in row:
        return "–"
    number = row[side]
    if number >= 100:
        text = f"{number:,.0f}"
    elif number >= 10:
        text = f"{number:.1f}"
    else:
        text = f"{number:.2f}"
    return f"{text} {row['unit']}"


def remarks(row):
    """Lines under a row: the peer, how each ran, and where the time went."""
    return [facts(row), *[f"{name}: {text}" for name, text in profiles(row).items()]]


def facts(row):
    """The peer, the number of rounds, and how each ran."""
    parts = [f"peer: {row.get('peer_name', 'none')}", *row["notes"]]
    if "rounds" in row:
        parts.append(f"{row['rounds']} rounds")
    return "; ".join(parts)


def profiles(row):
    """Where the time of each contender goes, as texts by its name."""
    return {
        name: ", ".join(f"{kind} {share:.0%}" for kind, share in kinds.items() if share >= LEAST)
        for name, kinds in row.get("profile", {}).items()
    }
