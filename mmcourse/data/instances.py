"""Scenes in the layout of COCO's ``instances`` files, which ``pycocotools`` and detectors read."""

from mmcourse.data.drawings import nouns


def coco_instances(scenes, names):
    """Images, boxes and categories of scenes, a dict for JSON; ``names`` are those of the files.

    A box is x, y, width, height in pixels; images and annotations are counted from 1, as are
    categories, in the order of :func:`~mmcourse.data.drawings.nouns`. Nothing is a crowd. The
    ``area`` is that of the box, since scenes keep no outline. ValueError for another number of
    names than of scenes.
    """
    if len(scenes) != len(names):
        raise ValueError(
            f"each scene needs the name of its file, got {len(scenes)} scenes, {len(names)} names"
        )
    numbers = {noun.name: number for number, noun in enumerate(nouns(), 1)}
    images, annotations = [], []
    for image, (scene, name) in enumerate(zip(scenes, names, strict=True), 1):
        height, width = scene.image.shape[:2]
        images.append({"id": image, "file_name": name, "width": width, "height": height})
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": numbers[thing.noun],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            annotations.append(annotation)
    categories = [
        {"id": numbers[noun.name], "name": noun.name, "supercategory": noun.category}
        for noun in nouns()
    ]
    about = {"description": "EmojiScenes, written by mmcourse data --coco"}
    return {
        "info": about,
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
