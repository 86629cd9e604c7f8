"""How a captioner is judged on pictures with captions: by what it writes of them."""

import torch
from tqdm import tqdm

from mmcourse.evaluation import bleu, cider_d, rouge_l

BATCH = 50  # pictures that are described at once


@torch.no_grad()
def evaluate(captioner, photographs, to_input, strategy="greedy", beams=4):
    """BLEU-4, ROUGE-L and CIDEr-D of what the captioner writes of photographs, and its captions.

    ``to_input(photograph)`` is what ``captioner.encode`` takes for one, see
    :func:`~mmcourse.photographs.inputs_of`.
    """
    captions = []
    bar = tqdm(total=len(photographs), unit=" pictures", leave=False, disable=None)
    for start in range(0, len(photographs), BATCH):
        batch = photographs[start : start + BATCH]
        inputs = torch.stack([torch.as_tensor(to_input(one)) for one in batch])
        written = captioner.write(captioner.encode(inputs), strategy, beams)
        captions += [caption.text for caption in written]
        bar.update(len(batch))
    bar.close()
    references = [list(one.captions) for one in photographs]
    scores = {
        "BLEU-4": bleu(captions, references)[3],
        "ROUGE-L": rouge_l(captions, references),
        "CIDEr-D": cider_d(captions, references),
    }
    return scores, captions
