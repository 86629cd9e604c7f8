"""What language models are trained on: streams and blocks, prompts with answers, measure words."""

import pytest
import torch
from safetensors.torch import load_file

from mmcourse.data.language import Description, Group
from mmcourse.gpt import GPT, Blocks, as_answer, as_prompt, collate, measure_words, novelty, stream
from mmcourse.hub import SHIPPED, load, load_tokenizer
from mmcourse.recipes import gpt as recipe
from mmcourse.text import BPETokenizer

END = 0
TOKENIZER = BPETokenizer([], {"<end>": END})


class TestStreams:
    def test_ends_stand_between_and_around(self):
        assert stream([[5, 6], [7]], END).tolist() == [0, 5, 6, 0, 7, 0]

    @pytest.mark.parametrize(("count", "length"), [(10, 4), (11, 4), (12, 4), (9, 2), (5, 5)])
    def test_blocks_predict_each_id_once(self, count, length):
        ids = torch.arange(count)
        blocks = Blocks(ids, length)
        predicted = [number for block in blocks for number in block[1:].tolist()]
        assert predicted == list(range(1, 1 + len(blocks) * (length - 1)))
        assert count - 1 - len(predicted) < length - 1  # less than a block is lost
        for number, block in enumerate(blocks):
            assert len(block) == length
            assert block[0] == number * (length - 1)

    def test_errors(self):
        with pytest.raises(ValueError, match="got length 1 and 5 ids"):
            Blocks(torch.arange(5), 1)
        with pytest.raises(ValueError, match="got length 6 and 5 ids"):
            Blocks(torch.arange(5), 6)
        with pytest.raises(IndexError, match="there are 4 blocks, got number 4"):
            Blocks(torch.arange(5), 2)[4]


class TestPrompts:
    def test_a_prompt_and_its_answer(self):
        prompt = as_prompt(TOKENIZER, "a cat", END)
        answer = as_answer(TOKENIZER, "猫", END)
        assert prompt[0] == END and answer[-1] == END
        assert TOKENIZER.decode(prompt[1:] + answer[:-1]) == "a cat = 猫"

    def test_only_the_answer_counts(self):
        ids, mask, counted = collate([([1, 2, 3], [4, 5]), ([6], [7, 8, 9, 10])])
        assert ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
        assert counted.tolist() == [[False] * 3 + [True] * 2, [False] + [True] * 4]
        assert mask.all()
        ids, mask, counted = collate([([1], [2]), ([1, 2], [3])])
        assert mask.tolist() == [[True, True, False], [True] * 3]
        assert counted.tolist() == [[False, True, False], [False, False, True]]


class TestMeasureWords:
    two = Description((Group("cat", 2, "red"), Group("car", 1, None, "big")), "above", "grass")

    @pytest.mark.parametrize(
        ("text", "named", "right"),
        [
            ("草地上，两只红色的猫在一辆大汽车的上面。", 2, 2),
            ("草地上，两个红色的猫在一辆大汽车的上面。", 2, 1),
            ("草地上，两只红色的狗在一台汽车的上面。", 1, 0),
            ("草地上，两辆红色的猫在一只大汽车的上面。", 2, 0),  # each has the other's
            ("草地上有猫和汽车。", 0, 0),
            ("", 0, 0),
        ],
    )
    def test_by_hand(self, text, named, right):
        assert measure_words(text, self.two) == (named, right)

    @pytest.mark.parametrize("split", ["val", "composition"])
    def test_the_grammar_has_all_of_them_right(self, split):
        for index in range(300):
            description, _ = recipe.described(split, index)
            groups = len(description.groups)
            found = measure_words(recipe.mandarin(split, index), description)
            assert found == (groups, groups), recipe.mandarin(split, index)


class TestNovelty:
    def test_is_what_the_split_keeps_apart(self):
        kinds = {novelty(recipe.described("composition", index)[0]) for index in range(60)}
        assert kinds == {"pair", "binding"}
        assert {novelty(recipe.described("train", index)[0]) for index in range(300)} == {"none"}

    def test_descriptions_are_those_of_the_scenes(self):
        from mmcourse.data import EmojiScenes

        for index in range(5):
            scene = EmojiScenes("val", 32)[index]
            assert recipe.described("val", index) == (scene.description, scene.key)
            assert recipe.mandarin("val", index) == scene.caption_zh
            assert recipe.english("val", index) == scene.captions[index % 5]


class TestRecipe:
    def test_no_scene_is_read_in_both_languages(self, monkeypatch):
        monkeypatch.setattr(recipe, "lines", lambda split: [])
        read = recipe.texts(4)
        wanted = [recipe.english("train", index) for index in (0, 2, 4, 6)]
        wanted += [recipe.mandarin("train", index) for index in (1, 3, 5, 7)]
        assert sorted(read) == sorted(wanted)

    def test_trains_and_ships(self, tmp_path, monkeypatch):
        monkeypatch.setattr(recipe, "SCENES", 20)
        monkeypatch.setattr(recipe, "VOCABULARY", 300)
        few = recipe.lines("train")[:40]
        monkeypatch.setattr(recipe, "lines", lambda split: few)
        monkeypatch.setattr(recipe, "judged", lambda: {"glosses": few[:3]})
        sizes = {"width": 8, "layers": 1, "heads": 2, "context": 32}
        monkeypatch.setitem(recipe.MODEL, "gpt", sizes)
        log = recipe.train("gpt", tmp_path / "run", steps=3)
        assert 0 < log[-1]["bits a byte, glosses"] < 12
        recipe.ship(recipe.GPT, tmp_path / "run", tmp_path / "half")
        whole = recipe.GPT.from_pretrained(tmp_path / "run")
        half = recipe.GPT.from_pretrained(tmp_path / "half")
        weights = (tmp_path / "run" / "model.safetensors").stat().st_size
        assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.7 * weights
        ids = torch.tensor([[0, 5, 9]])
        torch.testing.assert_close(half(ids), whole(ids), atol=1e-3, rtol=0)
        assert len(BPETokenizer.load(tmp_path / "half" / "tokenizer.json")) == 300


class TestShipped:
    folder = SHIPPED / "gpt"

    def test_is_what_the_recipe_makes(self):
        model = load("gpt")
        tokenizer = load_tokenizer("gpt")
        assert type(model) is GPT and not model.training
        assert model.embedding.num_embeddings == len(tokenizer) == recipe.VOCABULARY
        again = GPT(len(tokenizer), **recipe.MODEL["gpt"])
        again.load_state_dict(model.state_dict())
        assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}

    def test_is_small_and_in_half_precision(self):
        tensors = load_file(self.folder / "model.safetensors")
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
        assert sum(path.stat().st_size for path in self.folder.iterdir()) < 3_400_000

    def test_has_learnt(self):
        model = load("gpt")
        tokenizer = load_tokenizer("gpt")
        kinds = recipe.judged("val", 40)
        scores = recipe.evaluate(model, tokenizer, kinds)
        assert scores["bits a byte, glosses"] < 2
        assert scores["bits a byte, English"] < 0.8
        assert scores["bits a byte, Mandarin"] < 0.7

    def test_writes_captions_of_its_own_language(self):
        model = load("gpt")
        tokenizer = load_tokenizer("gpt")
        prompts = [[END, *tokenizer.encode(text)] for text in ("a picture of", "草地上")]
        found = model.generate(prompts, end=END, max_length=30)
        english, mandarin = (tokenizer.decode(row) for row in found.tokens)
        assert english.isascii() and len(english.split()) > 2
        assert mandarin.endswith("。")
