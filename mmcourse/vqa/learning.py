"""How an answerer is trained on questions whose pictures were encoded once.

Shapes: Q questions, T tokens, N cells, C channels.
"""

import torch
from torch import nn

from mmcourse.training import TrainingConfig, learning_rate_at, parameter_groups
from mmcourse.vqa.conversation import START, pad_rows, turn_tokens

SHARED = 4  # questions of one picture in a batch: its keys and values are computed once


class Lessons:
    """Questions as tensors, by the scene that they are about.

    ``asked`` are :class:`~mmcourse.vqa.conversation.Asked`, of every scene one or more. ``model``
    says which number a word and an answer have. KeyError for a word that it does not know, or an
    answer that its classifier cannot give.
    """

    def __init__(self, asked, model):
        numbers = {answer: number for number, answer in enumerate(model.answers)}
        self.tokens = []
        self.choices = []
        self.of_scene = {}
        for row, each in enumerate(asked):
            tokens = [START]
            for question, answer in each.turns:
                tokens += turn_tokens(question, answer, model.ids)
            self.tokens.append(tokens)
            self.choices.append([numbers[answer] if numbers else 0 for _, answer in each.turns])
            self.of_scene.setdefault(each.scene, []).append(row)
        self.scenes = list(self.of_scene)

    def batch(self, count, generator):
        """Questions about ``count`` scenes, SHARED of each, drawn with replacement.

        Returns the rows of the scenes (count,), tokens (SHARED count, T) and the numbers of the
        answers (SHARED count, turns), -1 where a conversation has fewer turns.
        """
        drawn = torch.randint(len(self.scenes), (count,), generator=generator).tolist()
        scenes = [self.scenes[number] for number in drawn]
        which = torch.rand(count, SHARED, generator=generator)
        rows = []
        for scene, shares in zip(scenes, which.tolist(), strict=True):
            own = self.of_scene[scene]
            rows += [own[int(share * len(own))] for share in shares]
        choices = [torch.tensor(self.choices[row]) for row in rows]
        choices = nn.utils.rnn.pad_sequence(choices, batch_first=True, padding_value=-1)
        return torch.tensor(scenes), pad_rows([self.tokens[row] for row in rows]), choices


def fit(model, lessons, memory, *, steps, rate, seed, scenes=32, decay=0.01, log=None):
    """Train a model with AdamW; the rate warms up and falls to 0 as a cosine.

    ``memory`` (scenes, N, C) may be in half precision. Each step has ``scenes`` pictures with
    SHARED questions each; they depend on the seed alone. Both heads are trained together.
    ``log(step, loss)`` is called every 100 steps.
    """
    config = TrainingConfig(steps=steps, batch_size=1, learning_rate=rate, warmup=steps // 20)
    optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        rows, tokens, choices = lessons.batch(scenes, generator)
        loss = model.terms(memory[rows].float(), tokens, choices).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if log and step % 100 == 0:
            log(step, loss.item())
    return model.eval()
