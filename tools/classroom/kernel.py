# The first cell of a submission's kernel: its limits, and what answers the grader's calls.
# _limits is (seconds, seconds a cell, megabytes, characters a cell, folder of answering.py).


def _set_limits(seconds, cell_seconds, megabytes):
    import resource

    for kind, most in (
        (resource.RLIMIT_AS, megabytes * 2**20),
        (resource.RLIMIT_FSIZE, 50 * 2**20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds + 2 * cell_seconds),
    ):
        resource.setrlimit(kind, (most, most))


def _shorten_prints(characters):
    import sys

    def shortened(whole):
        left = [characters]

        def write(text):
            part = text[: left[0]]
            left[0] -= len(part)
            return whole(part) if part else 0

        write.whole = whole
        return write

    def begin_cell(*_):  # for each cell IPython puts a new write into each stream
        for stream in (sys.stdout, sys.stderr):
            stream.write = shortened(getattr(stream.write, "whole", stream.write))

    return begin_cell


def _begin(seconds, cell_seconds, megabytes, characters, folder):
    import builtins
    import signal

    shell = get_ipython()  # noqa: F821
    names = shell.user_ns
    shorten = _shorten_prints(characters)  # noqa: F821
    _set_limits(seconds, cell_seconds, megabytes)  # noqa: F821
    with open(f"{folder}/answering.py", encoding="utf-8") as file:
        text = file.read()
    own = {"__name__": "answering", "__builtins__": dict(vars(builtins))}
    exec(compile(text, "answering.py", "exec"), own)

    def begin(*_):
        shorten()
        signal.setitimer(signal.ITIMER_PROF, cell_seconds)

    def end(*_):
        signal.setitimer(signal.ITIMER_PROF, 0)
        repair()

    def stop(*_):
        raise KeyboardInterrupt

    def repair():  # what a student's cell changed for all the cells after it
        shell.ast_transformers.clear()
        for event, functions in callbacks.items():
            shell.events.callbacks[event][:] = functions
        signal.signal(signal.SIGPROF, stop)
        own["restore"]()

    def answer(requests, results, checks, with_given):
        repair()
        own["answer_files"](checks, requests, results, names, with_given)

    shell.events.register("pre_run_cell", begin)
    shell.events.register("post_run_cell", end)
    callbacks = {event: list(functions) for event, functions in shell.events.callbacks.items()}
    builtins.__grader__ = answer
    repair()


_begin(*_limits)  # noqa: F821
del _begin, _limits, _set_limits, _shorten_prints  # noqa: F821
