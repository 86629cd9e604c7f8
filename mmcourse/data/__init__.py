"""What the chapters learn from: drawings, and scenes of them whose truth is known."""

from mmcourse.data.practice import Practice
from mmcourse.data.scenes import EmojiScenes, Scene, SceneObject
from mmcourse.data.splits import SPLITS

__all__ = ["SPLITS", "EmojiScenes", "Practice", "Scene", "SceneObject"]
