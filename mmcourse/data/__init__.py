"""What the chapters learn from: drawings of things, and scenes composed of them whose truth is known."""

from mmcourse.data.practice import Practice
from mmcourse.data.scenes import SPLITS, EmojiScenes, Scene, SceneObject

__all__ = ["SPLITS", "EmojiScenes", "Practice", "Scene", "SceneObject"]
