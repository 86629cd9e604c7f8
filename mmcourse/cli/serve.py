"""``mmcourse serve``: describe pictures for many people at once."""

from functools import partial

from mmcourse.cli.arguments import STRATEGIES, above_zero, add_model, not_negative
from mmcourse.cli.messages import complain

ABOUT = "describe pictures for many people at once, over HTTP"
EXAMPLES = """  mmcourse serve
  mmcourse serve --port 9000 --model runs/scenes --strategy greedy
  mmcourse serve --registry models --host 0.0.0.0"""
LOCALHOST = "127.0.0.1"
LAST_PORT = 65_535
CONNECTIONS = 1024  # at a time; one more gets 503 at once
TO_FINISH = 30  # seconds that a stop waits for those who are inside


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "--registry", metavar="DIR", help="serve what is in production in this registry of models"
    )
    parser.add_argument(
        "--host", default=LOCALHOST, help=f"where it listens (default: {LOCALHOST})"
    )
    parser.add_argument("--port", type=above_zero, default=8000, help="default: 8000")
    parser.add_argument(
        "--strategy", choices=STRATEGIES[:2], default="beam", help="how words are chosen"
    )
    parser.add_argument(
        "--batch", type=above_zero, default=16, help="pictures described together (default: 16)"
    )
    parser.add_argument(
        "--wait-ms",
        type=not_negative,
        default=5,
        help="milliseconds that a picture waits for others (default: 5)",
    )
    parser.add_argument(
        "--queue", type=above_zero, default=64, help="pictures that may wait (default: 64)"
    )
    parser.add_argument(
        "--replicas",
        type=above_zero,
        default=1,
        help="processes with a model each, by Ray Serve where it is more than one (default: 1)",
    )


def run(options):
    """Serve until a signal. A second process of these settings cannot have the same port."""
    try:
        import uvicorn

        from mmcourse.serving.server import Limits, make_app
    except ModuleNotFoundError as error:
        raise ValueError(
            f"mmcourse serve needs {error.name}: pip install 'mmcourse[serve]'"
        ) from error
    check_port(options.host, options.port)
    limits = Limits(batch=options.batch, wait=options.wait_ms / 1000, waiting=options.queue)
    writer = writer_of(options, limits)
    app = make_app(writer, limits, monitor_of(options))
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        http="h11",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=TO_FINISH,
    )
    reload_on_hangup(app, writer)
    uvicorn.Server(config).run()


def writer_of(options, limits):
    """What describes pictures: a model in this process, or several processes."""
    import torch

    from mmcourse.serving.server import LocalWriter

    torch.set_num_threads(1)  # one batch at a time; more processes use more cores
    if options.replicas == 1:
        return LocalWriter(partial(load, options), options.strategy, limits)
    from mmcourse.serving.ray_app import RayWriter

    size = load(options).image_size  # also says here and now what is wrong with the model
    return RayWriter(partial(load, options), size, options.strategy, options.replicas, limits)


def load(options):
    """The captioner that is asked for. ValueError for one that does not see drawn scenes."""
    from mmcourse.captioning import SceneCaptioner
    from mmcourse.hub import load_captioner
    from mmcourse.serving import Registry

    if options.registry and options.model != "scenes":
        raise ValueError("give --model or --registry, not both")
    name = str(Registry(options.registry).path()) if options.registry else options.model
    model = load_captioner(name)
    if not isinstance(model, SceneCaptioner):
        raise ValueError(f"mmcourse serve describes drawn scenes, and {name!r} does not")
    return model


def monitor_of(options):
    """What watches for drift: a Monitor for the shipped model, for others None."""
    from mmcourse.recipes.serving_studies import read
    from mmcourse.serving import Monitor, Reference

    if options.registry or options.model != "scenes":
        return None  # nobody has measured what it is sure of
    return Monitor(Reference(**read("drift")["reference"][options.strategy]))


def check_port(host, port):
    """OSError, in words, where nothing can listen there."""
    import socket

    try:
        if port > LAST_PORT:
            raise OverflowError(f"the last port is {LAST_PORT}")
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (OSError, OverflowError) as error:
        raise OSError(
            f"cannot listen on {host} port {port} ({error}): take another --port"
        ) from error


def reload_on_hangup(app, writer):
    """Load the model again at SIGHUP, where there is such a signal. A bad one changes nothing."""
    import signal
    import threading

    def reload():
        try:
            writer.reload()
            app.state.desk.log({"event": "reload"})
        except Exception as error:  # the former model goes on
            app.state.desk.log({"event": "reload failed"})
            complain("serve", f"the former model stays: {error}")

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=reload).start())
