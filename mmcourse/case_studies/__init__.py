"""Case studies: what the chapters built, on five small tasks of the kind that people are paid for.

Chapter 23. One file a case: ``education``, ``medical``, ``recommendation``, ``driving`` and
``service``. What they share is the interval of items that come in groups, and
that of a share.
"""

from mmcourse.case_studies.groups import bootstrap_groups, wilson

__all__ = ["bootstrap_groups", "wilson"]
