"""Unusual right answers to A2, which must get all points (tools/classroom/trials.py tries them all).

Each is a pair (what stands in the solution, what stands there instead) or the whole answer.
"""

import runpy

from tools.classroom.assignments import FOLDER

FOR_EVERY_FUNCTION = runpy.run_path(str(FOLDER / "A1_attention" / "right_answers.py"))["FOR_EVERY_FUNCTION"] | {
    "works on copies": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    return right_NAME(*[one.clone() if isinstance(one, torch.Tensor) else one for one in arguments])
""",
    "another order in memory": """
SOLUTION
right_NAME = NAME
def turned(value):
    if isinstance(value, torch.Tensor) and value.dim() > 1:
        return value.transpose(0, 1).contiguous().transpose(0, 1)
    return value
def NAME(*arguments):
    result = right_NAME(*arguments)
    return tuple(map(turned, result)) if isinstance(result, tuple) else turned(result)
""",
}

RIGHT = {
    "patchify": {
        "unfold twice": "def patchify(images, patch):\n    x = images.unfold(1, patch, patch).unfold(2, patch, patch)\n"
                        "    return x.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)",
        "loops": "def patchify(images, patch):\n    _, h, w, _ = images.shape\n    return torch.stack([images[:, r : r + patch, c : c + patch].flatten(1)\n"
                 "                        for r in range(0, h, patch) for c in range(0, w, patch)], dim=1)",
        "einsum": (".transpose(2, 3)", "\n    grid = torch.einsum('brpcqk->brcpqk', grid)"),
        "by an index": "def patchify(images, patch):\n    b, h, w, c = images.shape\n    at = torch.arange(h * w).reshape(h // patch, patch, w // patch, patch)\n"
                       "    at = at.permute(0, 2, 1, 3).reshape(-1, patch * patch)\n    return images.reshape(b, h * w, c)[:, at].flatten(2)",
        "a choice of order": ("def patchify(images, patch):", "def patchify(images, patch, channels_last=True):"),
        "split and cat": "def patchify(images, patch):\n    parts = [q.reshape(len(q), 1, -1) for p in images.split(patch, 1) for q in p.split(patch, 2)]\n"
                         "    return torch.cat(parts, dim=1)",
    },
    "embed_patches": {
        "divided first": ("images.float() / 127.5 - 1", "(images.to(torch.float32) / 255 - 0.5) * 2"),
        "patches first": ("    pixels = images.float() / 127.5 - 1\n    return projection(patchify(pixels, patch)) + places",
                          "    return projection(patchify(images, patch).float() / 127.5 - 1) + places"),
        "torch.add": ("projection(patchify(pixels, patch)) + places", "torch.add(projection(patchify(pixels, patch)), places.unsqueeze(0))"),
        "patchify with a name": ("patchify(pixels, patch)", "patchify(images=pixels, patch=patch)"),
        "patchify with an option": "def patchify(images, patch, scale=False):\n    x = images.unfold(1, patch, patch).unfold(2, patch, patch)\n"
                                   "    x = x.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)\n    return x / 127.5 - 1 if scale else x\n"
                                   "def embed_patches(images, patch, projection, places):\n"
                                   "    return projection(patchify(images.float(), patch, scale=True)) + places",
    },
    "cross_attention": {
        "exp by hand": ("scores.softmax(-1)", "torch.exp(scores - scores.logsumexp(-1, keepdim=True))"),
        "einsum": ("query @ key.transpose(-2, -1)", "torch.einsum('bhtd,bhsd->bhts', query, key)"),
        "a large negative number": ("-math.inf", "torch.finfo(scores.dtype).min"),
        "torch.where": ("scores.masked_fill(~mask, -math.inf)", "torch.where(mask, scores, torch.tensor(-math.inf))"),
        "added infinity": ("scores.masked_fill(~mask, -math.inf)", "scores + torch.zeros(mask.shape).masked_fill(mask.logical_not(), float('-inf'))"),
        "a loop over heads": "def cross_attention(x, context, layers, heads, mask=None):\n"
                             "    q, k, v = layers['query'](x), layers['key'](context), layers['value'](context)\n    parts = []\n"
                             "    for a, b, c in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1)):\n"
                             "        s = torch.bmm(a, b.mT) * a.shape[-1] ** -0.5\n        if mask is not None:\n            s[:, ~mask] = -math.inf\n"
                             "        parts.append(nn.functional.softmax(s, dim=-1).bmm(c))\n    return layers['output'](torch.cat(parts, -1))",
        "view and permute": ("vectors.unflatten(-1, (heads, -1)).transpose(1, 2)",
                             "vectors.reshape(vectors.shape[0], vectors.shape[1], heads, vectors.shape[-1] // heads).permute(0, 2, 1, 3)"),
        "nn.Softmax": ("scores.softmax(-1)", "nn.Softmax(dim=-1)(scores)"),
        "more arguments": ("heads, mask=None):", "heads, mask=None, dropout=0.0, need_weights=False):"),
    },
    "encoder_block": {
        "a residual kept": ('x = x + cross_attention(normed, normed, layers["attention"], heads)',
                            'residual = x\n    x = cross_attention(normed, normed, layers["attention"], heads, None)\n    x = x + residual'),
        "one line": 'def encoder_block(x, layers, heads):\n    x = x + (lambda n: cross_attention(n, n, layers["attention"], heads=heads))(layers["norm1"](x))\n'
                    '    return torch.add(x, layers["feed_forward"](layers["norm2"](x)))',
        "a mask of ones": ('layers["attention"], heads)', 'layers["attention"], heads, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool))'),
        "a mask with more axes": "def cross_attention(x, context, layers, heads, mask=None):\n"
                                 "    q, k, v = (layers[n](y).unflatten(-1, (heads, -1)).transpose(1, 2) for n, y in\n"
                                 "               [('query', x), ('key', context), ('value', context)])\n    s = q @ k.mT / math.sqrt(q.shape[-1])\n"
                                 "    s = s if mask is None else s.masked_fill(~mask, -math.inf)\n"
                                 "    return layers['output']((s.softmax(-1) @ v).transpose(1, 2).flatten(-2))\n"
                                 "def encoder_block(x, layers, heads):\n    n, t = layers['norm1'](x), x.shape[1]\n"
                                 "    x = x + cross_attention(n, n, layers['attention'], heads, mask=torch.ones(1, 1, t, t, dtype=torch.bool))\n"
                                 "    return x + layers['feed_forward'](layers['norm2'](x))",
    },
    "decoder_block": {
        "arange": ("torch.ones(length, length, dtype=torch.bool).tril()", "torch.arange(length)[:, None] >= torch.arange(length)[None, :]"),
        "not triu": ("torch.ones(length, length, dtype=torch.bool).tril()", "~torch.triu(torch.ones(length, length), diagonal=1).bool()"),
        "a mask with more axes": ("heads, past)", "heads, past[None, None].squeeze(0).squeeze(0))"),
        "cumulative sums": ("torch.ones(length, length, dtype=torch.bool).tril()", "torch.eye(length).cumsum(0).T.gt(0).T"),
        "a list of steps": 'def decoder_block(x, memory, layers, heads):\n    t = x.shape[1]\n    past = torch.tril(torch.ones(t, t)) == 1\n'
                           '    steps = [lambda y: cross_attention(y, y, layers["attention"], heads, past),\n'
                           '             lambda y: cross_attention(y, memory, layers["cross_attention"], heads), layers["feed_forward"]]\n'
                           '    for number, step in enumerate(steps, 1):\n        x = x + step(layers[f"norm{number}"](x))\n    return x',
    },
    "teacher_forcing": {
        "pad_sequence": "def teacher_forcing(captions, start, end, pad):\n    from torch.nn.utils.rnn import pad_sequence\n"
                        "    def filled(rows):\n        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad)\n"
                        "    return filled([[start] + list(c) for c in captions]), filled([list(c) + [end] for c in captions])",
        "lists": "def teacher_forcing(captions, start, end, pad):\n    t = max(map(len, captions)) + 1\n"
                 "    inputs = [([start] + c + [pad] * t)[:t] for c in captions]\n    targets = [(c + [end] + [pad] * t)[:t] for c in captions]\n"
                 "    return torch.LongTensor(inputs), torch.LongTensor(targets)",
        "zip_longest": "import itertools\ndef teacher_forcing(captions, start, end, pad):\n"
                       "    rows = lambda made: torch.tensor(list(zip(*itertools.zip_longest(*made, fillvalue=pad))))\n"
                       "    return rows([[start, *c] for c in captions]), rows([[*c, end] for c in captions])",
        "a list of two": ("return inputs, targets", "return [inputs, targets]"),
        "NumPy first": "def teacher_forcing(captions, start, end, pad):\n    a = np.full((2, len(captions), max(len(c) for c in captions) + 1), pad)\n"
                       "    for i, c in enumerate(captions):\n        a[0, i, 0], a[1, i, len(c)] = start, end\n        a[0, i, 1 : len(c) + 1] = c\n"
                       "        a[1, i, : len(c)] = c\n    return tuple(torch.from_numpy(a))",
        "32 bits": ("return inputs, targets", "return inputs.int(), targets.int()"),
    },
    "caption_loss": {
        "logsumexp": "def caption_loss(logits, targets, pad):\n    keep = targets != pad\n"
                     "    true = torch.take_along_dim(logits, targets.unsqueeze(-1), -1).squeeze(-1)\n"
                     "    return (logits.logsumexp(-1) - true)[keep].sum() / keep.sum()",
        "rows and columns": "def caption_loss(logits, targets, pad):\n    logits, targets = logits[targets != pad], targets[targets != pad]\n"
                            "    return -torch.log_softmax(logits, 1)[torch.arange(len(targets)), targets].mean()",
        "one-hot": "def caption_loss(logits, targets, pad):\n    hot = nn.functional.one_hot(targets, logits.shape[-1]).to(logits.dtype)\n"
                   "    losses = -(logits.log_softmax(-1) * hot).sum(-1)\n    return (losses * targets.ne(pad)).sum() / targets.ne(pad).sum()",
        "a loop": "def caption_loss(logits, targets, pad):\n    losses = []\n    for row, words in zip(logits, targets.tolist()):\n"
                  "        for z, word in zip(row, words):\n            if word != pad:\n                losses.append(torch.logsumexp(z, 0) - z[word])\n"
                  "    return torch.stack(losses).mean()",
        "shifted by hand": ("logits.log_softmax(-1)", "(lambda z: z - z.exp().sum(-1, keepdim=True).log())(logits - logits.detach().amax(-1, keepdim=True))"),
    },
    "train": {
        "enumerate": ("    for step in range(steps):\n        images, captions = next(lessons)\n",
                      "    for step, (images, captions) in zip(range(steps), lessons):\n"),
        "a schedule": 'def train(model, lessons, steps, rate):\n    optimizer = torch.optim.AdamW(model.parameters(), rate)\n'
                      '    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)\n    losses = torch.zeros(steps)\n'
                      '    for step in range(steps):\n        images, captions = next(lessons)\n        model.zero_grad(set_to_none=True)\n'
                      '        inputs, targets = teacher_forcing(captions, START, END, PAD)\n        loss = caption_loss(model(images, inputs), targets, PAD)\n'
                      '        loss.backward()\n        optimizer.step()\n        schedule.step()\n        losses[step] = loss.detach()\n    return losses',
        "stack": ("return torch.tensor(losses)", "return torch.stack([torch.tensor(loss) for loss in losses])"),
        "model.train": ("    optimizer, losses", "    model.train()\n    optimizer, losses"),
        "a loss with an option": "def caption_loss(logits, targets, pad, smoothing=0.0):\n"
                                 "    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0][targets != pad].mean()\n"
                                 "def train(model, lessons, steps, rate):\n    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)\n    losses = []\n"
                                 "    for step in range(steps):\n        optimizer.param_groups[0]['lr'] = rate - rate * step / steps\n"
                                 "        images, captions = next(lessons)\n        inputs, targets = teacher_forcing(captions, start=START, end=END, pad=PAD)\n"
                                 "        loss = caption_loss(model(images, inputs), targets, PAD, smoothing=0.0)\n        optimizer.zero_grad()\n"
                                 "        loss.backward()\n        optimizer.step()\n        losses += [float(loss)]\n    return torch.tensor(losses)",
    },
    "write": {
        "no_grad as a decorator": "@torch.no_grad()\ndef write(model, images, longest):\n    memory = model.encode(images)\n"
                                  "    tokens = torch.full((len(images), 1), START)\n    for _ in range(longest):\n"
                                  "        word = model.decode(memory, tokens)[:, -1].argmax(-1)\n        tokens = torch.hstack([tokens, word[:, None]])\n"
                                  "    words = tokens[:, 1:]\n    words[(words == END).cumsum(1).bool()] = PAD\n    return words",
        "stops when all have ended": "@torch.inference_mode()\ndef write(model, images, longest):\n    memory = model.encode(images)\n"
                                     "    tokens = torch.full((len(images), 1), START)\n    labels = torch.full((len(images), longest), PAD)\n"
                                     "    going = torch.ones(len(images), dtype=torch.bool)\n    for place in range(longest):\n"
                                     "        word = model.decode(memory, tokens)[:, -1].max(-1).indices\n        going &= word != END\n"
                                     "        if not going.any():\n            break\n        labels[going, place] = word[going]\n"
                                     "        tokens = torch.cat([tokens, word[:, None]], 1)\n    return labels.clone()",
        "picture by picture": "def write(model, images, longest):\n    rows = []\n    for image in images:\n        memory, words = model.encode(image[None]), [START]\n"
                              "        while len(words) <= longest:\n            word = int(model.decode(memory, torch.tensor([words]))[0, -1].argmax())\n"
                              "            if word == END:\n                break\n            words.append(word)\n"
                              "        rows.append((words[1:] + [PAD] * longest)[:longest])\n    return torch.tensor(rows)",
        "cumprod": ("words.masked_fill((words == END).cumsum(1) > 0, PAD)", "torch.where((words != END).long().cumprod(1) == 1, words, PAD)"),
    },
}
