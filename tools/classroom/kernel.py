# The first cell of a submission's kernel: its limits, and what answers the grader's calls.
# _limits is (seconds, seconds a cell, megabytes, characters a cell, folder of answering.py).


def _begin(seconds, cell_seconds, megabytes, characters, folder):
    import builtins
    import resource
    import signal
    import sys

    shell = get_ipython()  # noqa: F821

    def limit(kind, most):
        resource.setrlimit(kind, (most, most))

    limit(resource.RLIMIT_AS, megabytes * 2**20)
    limit(resource.RLIMIT_FSIZE, 50 * 2**20)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, seconds + 2 * cell_seconds)

    def begin(*_):  # for each cell IPython puts a new write into each stream
        for stream in (sys.stdout, sys.stderr):
            stream.write = shortened(getattr(stream.write, "whole", stream.write), [characters])
        signal.setitimer(signal.ITIMER_VIRTUAL, cell_seconds)

    def shortened(whole, left):
        def write(text):
            part = text[: left[0]]
            left[0] -= len(part)
            return whole(part) if part else 0

        write.whole = whole
        return write

    def end(*_):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        repair()

    def stop(*_):
        raise KeyboardInterrupt

    def repair():  # what a student's cell changed for all the cells after it
        shell.ast_transformers.clear()
        for event, functions in callbacks.items():
            shell.events.callbacks[event][:] = functions
        signal.signal(signal.SIGVTALRM, stop)
        own["restore"]()

    shell.events.register("pre_run_cell", begin)
    shell.events.register("post_run_cell", end)

    with open(f"{folder}/answering.py", encoding="utf-8") as file:
        text = file.read()
    own = {"__name__": "answering", "__builtins__": dict(vars(builtins))}
    exec(compile(text, "answering.py", "exec"), own)
    callbacks = {event: list(functions) for event, functions in shell.events.callbacks.items()}
    names = shell.user_ns
    repair()

    def answer(requests, results, checks, with_given):
        repair()
        own["answer_files"](checks, requests, results, names, with_given)

    builtins.__grader__ = answer


_begin(*_limits)  # noqa: F821
del _begin, _limits  # noqa: F821
