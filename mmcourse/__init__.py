"""The code of the course: one module a chapter, ``mmcourse.data`` for what they learn from."""

__version__ = "0.2.0"
