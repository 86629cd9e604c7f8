"""``mmcourse export``: write a captioner as ONNX graphs."""

from mmcourse.cli.arguments import add_model

ABOUT = "write the captioner of scenes as ONNX graphs, which run without PyTorch"
EXAMPLES = """  mmcourse export onnx
  mmcourse export onnx --model runs/scenes"""


def add_arguments(parser):
    parser.add_argument(
        "folder", metavar="FOLDER", help="where to write; it is made where it is missing"
    )
    add_model(parser)


def run(options):
    """Write the files, and print one line for each."""
    from mmcourse.hub import load_captioner
    from mmcourse.serving.onnx import export

    try:
        paths = export(load_captioner(options.model), options.folder)
    except (TypeError, ModuleNotFoundError) as error:
        raise ValueError(str(error)) from error
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1e3:,.0f} kB")
