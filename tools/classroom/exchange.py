"""Hand out, collect and give back on a machine that the class shares, with nbgrader's exchange (book/teaching.md).

    python -m tools.classroom.exchange release COURSE A1    students can fetch the assignment
    python -m tools.classroom.exchange collect COURSE A1    each student's newest submission, into COURSE/inbox/A1/STUDENT
    python -m tools.classroom.exchange return COURSE A1     students can fetch their feedback, after tools.classroom.grading wrote it

COURSE is the folder of the class, as for tools.classroom.grading. The exchange is /usr/local/share/nbgrader/exchange.
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

from tools.classroom.assignments import reach_programs
from tools.classroom.grading import Trouble, find_assignment, write_settings

KINDS = {
    "release": ExchangeReleaseAssignment,
    "collect": ExchangeCollect,
    "return": ExchangeReleaseFeedback,
}


def exchange(command, folder, short, root=None):
    """Do one of the three steps for assignment ``short`` of the course ``folder``; the exchange is ``root``."""
    folder, path = Path(folder).resolve(), find_assignment(short)
    config = Config(CourseDirectory={"root": str(folder), "course_id": "mmcourse"})
    if root:
        config.Exchange.root = str(root)
    if command == "release":
        (folder / "release" / short).mkdir(parents=True, exist_ok=True)
        write_settings(folder)
        shutil.copy(path.with_suffix(".ipynb"), folder / "release" / short)
        config.ExchangeReleaseAssignment.force = True
    if (
        command == "collect"
    ):  # the newest of each student, into the folders that tools.classroom.grading reads
        config.CourseDirectory.submitted_directory = "inbox"
        config.CourseDirectory.directory_structure = "{nbgrader_step}/{assignment_id}/{student_id}"
        config.ExchangeCollect.update = True
    reach_programs()
    log = logging.getLogger("exchange")
    directory = CourseDirectory(config=config, log=log)
    directory.assignment_id = short
    step = KINDS[command](
        coursedir=directory, authenticator=Authenticator(config=config), config=config, log=log
    )
    try:
        step.start()
    except ExchangeError as error:
        raise Trouble(f"The exchange at {step.root} can't be used: {error}") from None


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=KINDS)
    parser.add_argument("course", type=Path)
    parser.add_argument("assignment")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("exchange").setLevel(logging.INFO)
    exchange(options.command, options.course, options.assignment)


if __name__ == "__main__":
    main()
