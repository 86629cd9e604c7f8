r"""The two losses of a table of pictures and texts: softmaxes (CLIP), or sigmoids (SigLIP).

Shapes: B pairs, M further texts, E numbers of an embedding. Row i of the pictures belongs to row i
of the texts. Cosines are multiplied by ``scale``, the inverse of a temperature. Embeddings of half
precision are compared in single precision.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F

MAX_SCALE = 100.0  #: CLIP's bound (Radford et al. 2021, section 2.5)


def unit(x):
    """Rows of length 1, ``(..., E)``.

    A row of zeros has no direction: it stays zero, so that its cosine with everything is 0, and its
    gradient is finite.
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    length = x.norm(dim=-1, keepdim=True)
    return x / length.masked_fill(length == 0, 1.0)


def cosines(first, second):
    """The cosine of each row ``(B, E)`` with each row ``(M, E)``: ``(B, M)``."""
    with torch.autocast(first.device.type, enabled=False):
        return unit(first) @ unit(second).mT


def clip_loss(image, text, scale, *, positives=None, negatives=None):
    r"""CLIP's loss (Radford et al. 2021, figure 3), the mean of two cross-entropies.

    .. math:: -\frac{1}{2B} \sum_i \Big( \log \frac{e^{s c_{ii}}}{\sum_j e^{s c_{ij}}} +
              \log \frac{e^{s c_{ii}}}{\sum_j e^{s c_{ji}}} \Big)

    ``image`` and ``text`` are ``(B, E)``, of any length above 0; c are their cosines, s is
    ``scale``. Each picture looks for its text among the B texts, each text for its picture.

    ``positives`` ``(B, B)``, boolean, says which text is true of which picture where several are,
    as with duplicates (see :func:`same_text`): the truth is then shared out among them. (Texts with
    equal embeddings share it anyway.) ``negatives`` ``(M, E)`` are texts that are true of no
    picture: each picture sees them beside the B texts.

    Raises ValueError for shapes that do not pair, and for a batch of one without ``negatives``,
    whose loss is 0 whatever the model does.
    """
    check_pairs(image, text, negatives)
    similarity = scale * cosines(image, text)  # (B, B)
    truth = truth_of(positives, similarity)  # (B, B)
    to_text = similarity
    truth_of_texts = truth / truth.sum(1, keepdim=True)
    if negatives is not None:
        false = scale * cosines(image, negatives)  # (B, M)
        to_text = torch.cat([similarity, false], 1)  # (B, B + M)
        truth_of_texts = F.pad(truth_of_texts, (0, len(negatives)))
    to_image = similarity.mT
    truth_of_images = (truth / truth.sum(0, keepdim=True)).mT
    to_text = F.cross_entropy(to_text, truth_of_texts)
    to_image = F.cross_entropy(to_image, truth_of_images)
    return (to_text + to_image) / 2


def siglip_loss(image, text, scale, bias, *, positives=None, negatives=None):
    r"""SigLIP's loss (Zhai et al. 2023, section 3.2): each cell of the table is a yes or a no.

    .. math:: -\frac{1}{B} \sum_i \sum_j \log \sigma\big(z_{ij} (s c_{ij} + b)\big)

    z is 1 for a pair and -1 for any other cell; s is ``scale``, b is ``bias``. It is a sum over the
    texts and a mean over the B pictures, as in the paper: it grows with the batch. The sign of b is
    that of the paper's Algorithm 1; its printed formula has the opposite one. The other arguments
    are those of :func:`clip_loss`; with ``positives`` several cells of a row may be a yes.

    Raises ValueError for shapes that do not pair, and for a batch of one without ``negatives``:
    without a no, pulling everything together is the answer.
    """
    check_pairs(image, text, negatives)
    logits = scale * cosines(image, text) + bias  # (B, B)
    truth = truth_of(positives, logits)
    if negatives is not None:
        false = scale * cosines(image, negatives) + bias  # (B, M)
        logits = torch.cat([logits, false], 1)  # (B, B + M)
        truth = F.pad(truth, (0, len(negatives)))
    signs = 2 * truth - 1
    return -F.logsigmoid(signs * logits).sum(1).mean()


def same_text(texts):
    """Which texts of a batch are equal, ``(B, B)`` boolean: the ``positives`` of both losses.

    ``texts`` is a list of strings, or token numbers ``(B, T)``.
    """
    if not isinstance(texts, torch.Tensor):
        numbers = {text: number for number, text in enumerate(texts)}
        texts = torch.tensor([[numbers[text]] for text in texts])
    return (texts[:, None] == texts[None]).all(-1)


def truth_of(positives, similarity):
    """The table of truths ``(B, B)`` as numbers 0 and 1: the diagonal, or ``positives``."""
    if positives is None:
        return torch.eye(len(similarity), dtype=similarity.dtype, device=similarity.device)
    if positives.dtype != torch.bool or positives.shape != similarity.shape:
        raise ValueError(
            f"positives must be boolean {tuple(similarity.shape)}, True where a text is true of a "
            f"picture, got {positives.dtype} {tuple(positives.shape)}"
        )
    if not positives.diagonal().all():
        raise ValueError("positives must be True on the diagonal: row i belongs to row i")
    return positives.to(similarity.dtype)


def check_pairs(image, text, negatives=None):
    """ValueError unless ``(B, E)`` and ``(B, E)`` pair, with something to tell them from."""
    if image.dim() != 2 or image.shape != text.shape:
        raise ValueError(
            "image and text must be (B, E), a row for each pair, "
            f"got {tuple(image.shape)} and {tuple(text.shape)}"
        )
    if negatives is not None and (negatives.dim() != 2 or negatives.shape[1] != image.shape[1]):
        raise ValueError(f"negatives must be (M, {image.shape[1]}), got {tuple(negatives.shape)}")
    if len(image) + (0 if negatives is None else len(negatives)) < 2:
        raise ValueError(
            f"a batch of {len(image)} has no negatives, so nothing says what to keep apart: "
            "give two pairs or more"
        )


# Several processes ---------------------------------------------------------------------------


class Gather(torch.autograd.Function):
    """The rows of all processes under one another, with gradients.

    Backwards, every process has a gradient for the rows of every other one: they are added up and
    each takes its own. ``torch.distributed.all_gather`` alone would give none.
    """

    @staticmethod
    def forward(context, x):
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather(x):
    """The rows ``(B, E)`` of all R processes, ``(R B, E)``, in the order of the processes.

    In one process it is ``x`` itself. ValueError when the processes have different shapes.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    own = torch.tensor(x.shape, device=x.device)
    shapes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, own)
    shapes = [tuple(shape.tolist()) for shape in shapes]
    if len(set(shapes)) > 1:
        raise ValueError(f"each process must have as many pairs, got {shapes}: drop the last batch")
    return Gather.apply(x)


def gathered_clip_loss(image, text, scale):
    """This process's share of :func:`clip_loss` over the batches of all processes.

    Its rows look among the columns of all. **The mean over the processes** is the loss of the whole
    batch, and the mean of their gradients, as ``DistributedDataParallel`` takes it, its gradient.
    """
    images = gather(image)  # (R B, E)
    texts = gather(text)
    check_pairs(images, texts)
    truth = own_rows(image, images)  # (B,)
    to_text = scale * cosines(image, texts)  # (B, R B)
    to_image = scale * cosines(text, images)
    return (F.cross_entropy(to_text, truth) + F.cross_entropy(to_image, truth)) / 2


def gathered_siglip_loss(image, text, scale, bias):
    """As :func:`gathered_clip_loss`, for :func:`siglip_loss`. Only the texts are gathered."""
    texts = gather(text)  # (R B, E)
    check_pairs(texts, texts)
    logits = scale * cosines(image, texts) + bias  # (B, R B)
    truth = F.one_hot(own_rows(image, texts), len(texts))
    return -F.logsigmoid((2 * truth - 1) * logits).sum(1).mean()


def own_rows(own, everything):
    """The numbers of this process's rows among those of all, ``(B,)``."""
    first = 0
    if len(everything) > len(own):
        first = dist.get_rank() * len(own)
    return torch.arange(first, first + len(own), device=own.device)
