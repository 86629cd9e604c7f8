"""What the appendix on the articles says: of libraries, of formulas, and where one finds it."""

import inspect
import itertools
import re

import pytest
import torch
import transformers
from scipy.optimize import linear_sum_assignment
from torch import nn
from transformers.loss.loss_for_object_detection import HungarianMatcher
from transformers.models.auto import configuration_auto, modeling_auto
from transformers.utils import TensorType

from mmcourse.fusion import combine
from mmcourse.gpt import GPT
from mmcourse.transformer import Decoder, Encoder
from tests.book.pages import ROOT, code_of, read_notebook, read_text

PATH = ROOT / "book" / "chapters" / "articles.py"
CELLS = read_text(PATH).cells
WORDS = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")


# The page --------------------------------------------------------------------------------------


def test_fourteen_rows_lead_to_fourteen_sections_in_their_order():
    rows = re.findall(r"^\| \{ref\}`.*? <(articles-[\w-]+)>` \|", WORDS, flags=re.MULTILINE)
    sections = re.findall(r"^\((articles-[\w-]+)\)=\n###? ", WORDS, flags=re.MULTILINE)
    assert len(rows) == 14 and rows == sections


def test_each_section_claims_shows_corrects_and_says_where_it_lives():
    text = "\n".join(cell.source if cell.cell_type == "markdown" else "CODE CELL" for cell in CELLS)
    sections = re.split(r"^\(articles-[\w-]+\)=$", text, flags=re.MULTILINE)[1:-1]
    assert len(sections) == 13  # the fourteenth is the table of papers
    for section in sections:
        claim, right = section.index("**Claimed.**"), section.index("**Right")
        assert "CODE CELL" in section[claim:right] and "CODE CELL" in section[right:], section
        assert "**In its favour" in section, section
        assert re.search(r"\]\(\d\d_\w+\.py\)", section), section


def test_what_fails_on_purpose_fails_as_the_page_says():
    outputs = [output for cell in code_of(read_notebook(PATH)) for output in cell.outputs]
    errors = [output["traceback"][0] for output in outputs if output.output_type == "error"]
    wanted = [
        "size of tensor a .6. must match the size of tensor b .16.",
        "cannot import name 'VisionTransformer'",
        "expected Tensor .* but got BaseModelOutput",
        "cannot be multiplied .46x48 and 96x48.",
        "KeyError: 'class_labels'",
        "cannot be multiplied .5x48 and 7x48.",
        "Long, Int; but got torch.FloatTensor",
        "'Tensor' object has no attribute 'show'",
        "embed_dim must be divisible by num_heads",
        "missing 1 required positional argument: 'tgt'",
    ]
    assert len(errors) == len(wanted)
    for message, error in zip(wanted, errors, strict=True):
        assert re.search(message, error), error


# What libraries have ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["VisionTransformer", "GPT2ForMaskedLM", "TFGPT2LMHeadModel"])
def test_transformers_has_no(name):
    assert not hasattr(transformers, name)


def test_tokenizers_no_longer_make_tensors_for_tensorflow():
    assert [kind.value for kind in TensorType if kind.value in ("pt", "tf")] == ["pt"]


def test_transformers_knows_no_model_that_is_called_dall_e():
    kinds = configuration_auto.CONFIG_MAPPING_NAMES
    assert "detr" in kinds and not [kind for kind in kinds if "dall" in kind]
    with pytest.raises(ValueError, match="Unrecognized model identifier: dall-e"):
        transformers.AutoConfig.for_model("dall-e")


def test_who_guesses_hidden_tokens_and_who_writes():
    assert "gpt2" not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    assert "gpt2" in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    assert "bert" in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    assert not hasattr(transformers.GPT2LMHeadModel, "fit")
    assert not hasattr(transformers.GPT2Model, "generate")


def test_the_second_argument_of_torchs_transformer_is_the_number_of_heads():
    assert list(inspect.signature(nn.Transformer).parameters)[:2] == ["d_model", "nhead"]
    required = inspect.signature(nn.Transformer.forward).parameters
    assert [name for name, p in required.items() if p.default is p.empty] == ["self", "src", "tgt"]


# What formulas say -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5])
def test_matching_needs_labels_and_equals_the_cheapest_of_all_assignments(size):
    torch.manual_seed(size)
    boxes = torch.rand(1, size, 4)
    found = {"logits": torch.randn(1, size, 4), "pred_boxes": torch.rand(1, size, 4)}
    true = {"class_labels": torch.randint(4, (size,)), "boxes": boxes[0]}
    matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=0)
    chance = found["logits"][0].softmax(-1)[:, true["class_labels"]]
    cost = 5 * (found["pred_boxes"][0][:, None] - boxes).abs().sum(-1) - chance
    orders = itertools.permutations(range(size))
    best = min(orders, key=lambda order: sum(cost[row, c] for row, c in enumerate(order)))
    assert matcher(found, [true])[0][1].tolist() == list(best)
    assert linear_sum_assignment(cost)[1].tolist() == list(best)
    with pytest.raises(KeyError, match="class_labels"):
        matcher(found, [{"boxes": boxes[0]}])


def test_two_products_sum_to_one_in_two_corners_only():
    grid = torch.linspace(0, 1, 21).double()
    total = torch.outer(grid, grid) + torch.outer(1 - grid, 1 - grid)
    assert (total > 1 - 1e-9).nonzero().tolist() == [[0, 0], [20, 20]]


@pytest.mark.parametrize("answers, words, views", [(2, 3, 4), (3, 2, 2), (5, 4, 3)])
def test_bayes_rule_is_the_posterior_of_a_joint_distribution(answers, words, views):
    torch.manual_seed(answers)
    prior = torch.rand(answers).double().log_softmax(0).exp()
    text = torch.rand(answers, words).double().log_softmax(1).exp()  # p(t | r)
    view = torch.rand(answers, views).double().log_softmax(1).exp()  # p(v | r)
    joint = prior[:, None, None] * text[:, :, None] * view[:, None, :]  # (R, T, V)
    wanted = joint / joint.sum(0)
    by_text = joint.sum(2) / joint.sum((0, 2))
    by_view = joint.sum(1) / joint.sum((0, 1))
    for t, v in itertools.product(range(words), range(views)):
        sides = torch.stack([by_text[:, t], by_view[:, v]])[None].log()
        torch.testing.assert_close(combine(sides, prior.log()).exp()[0], wanted[:, t, v])
        product = by_text[:, t] * by_view[:, v]
        assert product.sum() < 0.999


@pytest.mark.parametrize("vocabulary, length", [(2, 5), (3, 4), (5, 2)])
def test_the_chain_rule_sums_to_one_over_all_sequences(vocabulary, length):
    torch.manual_seed(length)
    gpt = GPT(vocabulary, 12, 2, 3, length + 1).double().eval()
    rows = torch.tensor(
        [[0, *rest] for rest in itertools.product(range(vocabulary), repeat=length)]
    )
    with torch.no_grad():
        logs = gpt(rows)[:, :-1].log_softmax(-1)
    each = logs.gather(-1, rows[:, 1:, None])[..., 0].sum(-1).exp()
    assert abs(each.sum().item() - 1) < 1e-12 and each.std() > 1e-4


def test_of_two_sides_that_cannot_know_bayes_rule_makes_the_prior():
    prior = torch.tensor([0.3, 0.7]).double().log()
    found = combine(torch.stack([prior, prior])[None], prior)[0]
    torch.testing.assert_close(found, prior)


def test_an_encoder_hears_of_the_last_input_and_a_decoder_does_not():
    torch.manual_seed(0)
    encoder, decoder = Encoder(2, 12, 3).double().eval(), Decoder(2, 12, 3).double().eval()
    x, memory = torch.randn(1, 7, 12).double(), torch.randn(1, 4, 12).double()
    other = x.clone()
    other[:, -1] = torch.randn(12)
    order = torch.tensor([3, 6, 0, 1, 5, 2, 4])
    with torch.no_grad():
        torch.testing.assert_close(encoder(x[:, order]), encoder(x)[:, order])
        assert (encoder(other) - encoder(x))[0, 0].abs().max() > 1e-3
        assert torch.equal(decoder(other, memory)[:, :-1], decoder(x, memory)[:, :-1])
