"""``mmcourse bench``: race the course's code against other libraries."""

ABOUT = "race our code against other libraries on this machine (at most ten minutes on two cores)"
EXAMPLES = """  mmcourse bench
  mmcourse bench --only attention layers
  mmcourse bench --json book/benchmarks.json
  mmcourse bench --only learning --json book/benchmarks.json"""
RACES = ("attention", "training", "generation", "scores", "layers", "learning")


def add_arguments(parser):
    parser.add_argument(
        "--only",
        nargs="+",
        choices=RACES,
        metavar="RACE",
        help=f"some of {', '.join(RACES)}; the default is all but {RACES[-1]}, which takes up to "
        "twenty minutes more",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, to see that it works: the times mean nothing",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also keep the rows in a file; rows of other races that are in it already stay",
    )
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")


def run(options):
    """Print each row when it is measured, and how far the races are on stderr."""
    from mmcourse.bench import bench

    bench(options.only or RACES[:-1], quick=options.quick, device=options.device, file=options.json)
