"""Hand out, collect and give back on a machine that the class shares, with nbgrader's exchange.

    python -m tools.classroom.exchange release COURSE A1
    python -m tools.classroom.exchange collect COURSE A1
    python -m tools.classroom.exchange return COURSE A1

After `release` students can fetch the assignment. `collect` puts each student's newest submission
into COURSE/inbox/A1/STUDENT. After `return` students can fetch the feedback that
tools.classroom.grading wrote. COURSE is the folder of the class, as there. The exchange is
/usr/local/share/nbgrader/exchange.
"""

import argparse
import logging
import shutil
from pathlib import Path

from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeError
from nbgrader.exchange.default import (
    ExchangeCollect,
    ExchangeReleaseAssignment,
    ExchangeReleaseFeedback,
)
from traitlets.config import Config

from tools.classroom.grading import find_assignment, write_settings
from tools.classroom.releases import reach_programs
from tools.classroom.submissions import Trouble

STEPS = {
    "release": ExchangeReleaseAssignment,
    "collect": ExchangeCollect,
    "return": ExchangeReleaseFeedback,
}


def exchange(command, folder, short, root=None):
    """Do one of the three steps for an assignment of the course ``folder``.

    ``root`` is the exchange, if it is not the usual one.
    """
    folder = Path(folder).resolve()
    assignment = find_assignment(short)
    config = Config(CourseDirectory={"root": str(folder), "course_id": "mmcourse"})
    if root:
        config.Exchange.root = str(root)
    if command == "release":
        released = folder / "release" / short
        released.mkdir(parents=True, exist_ok=True)
        write_settings(folder)
        shutil.copy(assignment.notebook, released)
        config.ExchangeReleaseAssignment.force = True
    if command == "collect":  # into the folders that tools.classroom.grading reads
        config.CourseDirectory.submitted_directory = "inbox"
        config.CourseDirectory.directory_structure = "{nbgrader_step}/{assignment_id}/{student_id}"
        config.ExchangeCollect.update = True  # the newest of each student
    start_step(STEPS[command], config, short)


def start_step(kind, config, short):
    """Let nbgrader do one step of its exchange."""
    reach_programs()
    log = logging.getLogger("exchange")
    directory = CourseDirectory(config=config, log=log)
    directory.assignment_id = short
    authenticator = Authenticator(config=config)
    step = kind(coursedir=directory, authenticator=authenticator, config=config, log=log)
    try:
        step.start()
    except ExchangeError as error:
        raise Trouble(f"The exchange at {step.root} can't be used: {error}") from None


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=STEPS)
    parser.add_argument("course", type=Path)
    parser.add_argument("assignment")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("exchange").setLevel(logging.INFO)
    exchange(options.command, options.course, options.assignment)


if __name__ == "__main__":
    main()
