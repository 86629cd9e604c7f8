"""Pictures and clips from words: latents, a quantizer, a GPT over codes, a rectified flow, judges.

Letters: B batch, T words, N cells of a grid, C channels of a cell, K codes, D width.
"""

from mmcourse.text_to_image.autoencoder import Autoencoder, CodeAutoencoder, to_images
from mmcourse.text_to_image.captions import check_caption, world_vocabulary
from mmcourse.text_to_image.denoiser import Denoiser
from mmcourse.text_to_image.flow import RectifiedFlow, between, guided, shifted, velocity_to
from mmcourse.text_to_image.judging import checklist, fact_counts, frechet_distance, nearest, share
from mmcourse.text_to_image.model import TextToImage
from mmcourse.text_to_image.quantizer import VectorQuantizer, codebook_use, straight_through
from mmcourse.text_to_image.reader import CentreReader, centres
from mmcourse.text_to_image.tokens import PictureGPT

__all__ = [
    "Autoencoder",
    "CentreReader",
    "CodeAutoencoder",
    "Denoiser",
    "PictureGPT",
    "RectifiedFlow",
    "TextToImage",
    "VectorQuantizer",
    "between",
    "centres",
    "check_caption",
    "checklist",
    "codebook_use",
    "fact_counts",
    "frechet_distance",
    "guided",
    "nearest",
    "share",
    "shifted",
    "straight_through",
    "to_images",
    "velocity_to",
    "world_vocabulary",
]
