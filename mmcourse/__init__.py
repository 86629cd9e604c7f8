"""The code of the course: one module a chapter, and ``mmcourse.data`` for what the chapters learn from."""

__version__ = "0.1.0"
