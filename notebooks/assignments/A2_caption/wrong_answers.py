"""Wrong answers to A2, which the tests must notice (tools/classroom/trials.py tries them all).

Each is a pair (what stands in the solution, what stands there instead) or the whole answer.
"""

import runpy

from tools.classroom.assignments import FOLDER

FOR_EVERY_FUNCTION = runpy.run_path(str(FOLDER / "A1_attention" / "wrong_answers.py"))["FOR_EVERY_FUNCTION"] | {
    "gives an object that equals everything": """
SOLUTION
class Yes(torch.Tensor):
    def __eq__(self, other): return True
    def __ne__(self, other): return torch.zeros(1, dtype=torch.bool)
    def detach(self): return self
    def numpy(self): return np.zeros(1)
right_NAME = NAME
def NAME(*arguments):
    result = right_NAME(*arguments)
    wrong = lambda part: (part.detach() * 0 + 7).as_subclass(Yes)
    return tuple(map(wrong, result)) if isinstance(result, tuple) else wrong(result)
""",
    "answers memorised from the visible tests": """
SOLUTION
right_NAME, pages_NAME = NAME, {}
def key_NAME(arguments):  # without the addresses of objects, which differ from run to run
    return [repr(one) if isinstance(one, (torch.Tensor, int, list)) else type(one).__name__ for one in arguments]
def NAME(*arguments):
    result = right_NAME(*arguments)
    pages_NAME[str(key_NAME(arguments))] = result
    return result
try:
    exec(visible_tests["NAME-tests"])
except Exception:
    pass
def NAME(*arguments):
    return pages_NAME.get(str(key_NAME(arguments)), 0.0)
""",
    "gives NumPy arrays": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    result = right_NAME(*arguments)
    return tuple(part.detach().numpy() for part in result) if isinstance(result, tuple) else result.detach().numpy()
""",
}

PACKAGE_HEADS = """
from mmcourse.attention import MultiHeadAttention
def heads_of_the_package(layers, width, heads):
    module = MultiHeadAttention(width, heads)
    for name, layer in layers.items():
        getattr(module, name).load_state_dict(layer.state_dict())
    return module
"""

WRONG = {
    "patchify": {
        "reshape alone": (".transpose(2, 3)", ""),
        "swaps the wrong axes": (".transpose(2, 3)", ".transpose(1, 3)"),
        "patches column by column": ("grid.reshape(", "grid.transpose(1, 2).reshape("),
        "pixels column by column": ("grid.reshape(", "grid.transpose(3, 4).reshape("),
        "channels first": ("grid.reshape(", "grid.permute(0, 1, 2, 5, 3, 4).reshape("),
        "rows and columns mixed up": ("height // patch, width // patch", "width // patch, height // patch"),
        "square pictures only": ("height // patch, width // patch", "height // patch, height // patch"),
        "number of patches for the side": ("rows, patch, columns, patch", "patch, rows, patch, columns"),
        "two for the side always": ("batch, height, width, channels = images.shape", "batch, height, width, channels = images.shape\n    patch = 2"),
        "one channel only": ("batch, height, width, channels = images.shape",
                             "images = images[..., :1]\n    batch, height, width, channels = images.shape"),
        "a grid, not a row": ("rows * columns, patch", "rows, columns, patch"),
        "pixels not written out": ("patch * patch * channels)", "patch, patch, channels)"),
        "batch and patches together": ("(batch, rows * columns, patch", "(batch * rows * columns, patch"),
        "first picture only": ("images.reshape(batch,", "images[:1].expand_as(images).reshape(batch,"),
        "backwards": ("return grid.reshape(batch, rows * columns, patch * patch * channels)",
                      "return grid.reshape(batch, rows * columns, patch * patch * channels).flip(1)"),
        "pixels already scaled": ("images.reshape(batch,", "(images / 255).reshape(batch,"),
        "overlapping patches": ("return grid.reshape(batch, rows * columns, patch * patch * channels)",
                                "wide = images.unfold(1, patch, 1).unfold(2, patch, 1)\n    "
                                "return wide.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)"),
        "F.unfold and its order": ("return grid.reshape(batch, rows * columns, patch * patch * channels)",
                                   "return nn.functional.unfold(images.permute(0, 3, 1, 2).float(), patch, stride=patch).transpose(1, 2)"),
        "the package's convolution": "from mmcourse.vision import PatchEmbedding\n" """
def patchify(images, patch):
    size = patch * patch * images.shape[-1]
    module = PatchEmbedding(images.shape[1], patch, size, images.shape[-1])
    module.projection.weight.data = torch.eye(size).reshape(size, patch, patch, -1).permute(0, 3, 1, 2).contiguous()
    module.projection.bias.data.zero_()
    module.shape = images.permute(0, 3, 1, 2).shape[1:]
    return module(images.permute(0, 3, 1, 2).float()).detach()
""",
    },
    "embed_patches": {
        "pixels not scaled": (" / 127.5 - 1", ""),
        "scaled to 0 and 1": (" / 127.5 - 1", " / 255"),
        "scaled to -0.5 and 0.5": (" / 127.5 - 1", " / 255 - 0.5"),
        "not shifted": (" / 127.5 - 1", " / 127.5"),
        "mean and spread of the batch": ("images.float() / 127.5 - 1", "images.float()\n    pixels = (pixels - pixels.mean()) / pixels.std()"),
        "whole numbers": ("images.float() / 127.5 - 1", "(images // 127.5 - 1).float()"),
        "places forgotten": (" + places", ""),
        "places before the projection": ("projection(patchify(pixels, patch)) + places", "projection(patchify(pixels, patch) + places.mean())"),
        "places multiplied": (" + places", " * places"),
        "places subtracted": (" + places", " - places"),
        "the first place for all": (" + places", " + places[:1]"),
        "places backwards": (" + places", " + places.flip(0)"),
        "places added twice": (" + places", " + 2 * places"),
        "projection forgotten": ("projection(patchify(pixels, patch))", "patchify(pixels, patch)"),
        "projection of one channel order": ("patchify(pixels, patch)", "patchify(pixels.flip(-1), patch)"),
        "weight without bias": ("projection(patchify(pixels, patch))", "patchify(pixels, patch) @ projection.weight.T"),
        "a layer of its own": ("projection(patchify(pixels, patch))", "nn.Linear(patchify(pixels, patch).shape[-1], places.shape[-1])(patchify(pixels, patch))"),
        "patches of side two always": ("patchify(pixels, patch)", "patchify(pixels, 2)"),
        "the mean of the patches": ("patchify(pixels, patch)) + places", "patchify(pixels, patch)).mean(1, keepdim=True) + places"),
        "rounds to whole numbers": ("return projection(patchify(pixels, patch)) + places", "return (projection(patchify(pixels, patch)) + places).round()"),
    },
    "cross_attention": {
        "hidden scores are less by 10,000": ("scores.masked_fill(~mask, -math.inf)", "scores - 1e4 * ~mask"),
        "its own softmax, which overflows": ("scores.softmax(-1) @ value", "(scores.exp() / scores.exp().sum(-1, keepdim=True)) @ value"),
        "missing scale": (" / math.sqrt(query.shape[-1])", ""),
        "divides by d_k": ("math.sqrt(query.shape[-1])", "query.shape[-1]"),
        "hard-coded root of 64": ("math.sqrt(query.shape[-1])", "8.0"),
        "hard-coded root of 4": ("math.sqrt(query.shape[-1])", "2.0"),
        "scale from the whole width": ("math.sqrt(query.shape[-1])", "math.sqrt(x.shape[-1])"),
        "self-attention": ("def split(vectors):", "context = x\n    def split(vectors):"),
        "keys of x": ('layers["key"](context)', 'layers["key"](x)'),
        "values of x": ('layers["value"](context)', 'layers["value"](x)'),
        "queries of the context": ('layers["query"](x)', 'layers["query"](context)'),
        "key's layer for the values": ('layers["value"]', 'layers["key"]'),
        "query's layer for the keys": ('layers["key"]', 'layers["query"]'),
        "output layer forgotten": ('layers["output"](output.transpose(1, 2).flatten(-2))', "output.transpose(1, 2).flatten(-2)"),
        "heads not split": ("(heads, -1)", "(1, -1)"),
        "two heads always": ("(heads, -1)", "(2, -1)"),
        "number and width of heads mixed up": ("(heads, -1)", "(-1, heads)"),
        "reshape alone": ("vectors.unflatten(-1, (heads, -1)).transpose(1, 2)", "vectors.reshape(len(vectors), heads, vectors.shape[1], -1)"),
        "merged without swapping": ("output.transpose(1, 2).flatten(-2)", "output.reshape(x.shape)"),
        "softmax over the queries": ("scores.softmax(-1)", "scores.softmax(-2)"),
        "softmax over the heads": ("scores.softmax(-1)", "scores.softmax(1)"),
        "no softmax": ("scores.softmax(-1)", "scores"),
        "mask ignored": ("if mask is not None:", "if False:"),
        "mask turned round": ("~mask", "mask"),
        "hidden scores are zero": ("-math.inf", "0.0"),
        "hidden scores are -10": ("-math.inf", "-10.0"),
        "mask after the softmax": ("scores = scores.masked_fill(~mask, -math.inf)", "scores = (scores.softmax(-1) * mask).log()\n    "
                                   "    return layers['output']((scores.exp() @ value).transpose(1, 2).flatten(-2))"),
        "no mask fails": ("if mask is not None:", "if True:"),
        "mask transposed": ("~mask", "~mask.T"),
        "torch's own attention": ("scores.softmax(-1) @ value", "nn.functional.scaled_dot_product_attention(query, key, value, mask)"),
        "torch's own attention by another name": ("scores.softmax(-1) @ value", "next(map(getattr(nn.functional, 'scaled_dot_' + 'product_attention'), "
                                                  "[query], [key], [value], [mask]))"),
        "torch's own attention below its name": ("scores.softmax(-1) @ value", "torch.ops.aten.scaled_dot_product_attention(query, key, value, mask)"),
        "torch's own attention, the watch switched off": ("output = scores.softmax(-1) @ value", "with torch._C.DisableTorchFunction():\n"
                                                         "        output = nn.functional.scaled_dot_product_attention(query, key, value, mask)"),
        "torch's own attention, the watch switched off, through map()": ("output = scores.softmax(-1) @ value", "with torch._C.DisableTorchFunction():\n"
                                                         "        output, = map(nn.functional.scaled_dot_product_attention, [query], [key], [value], [mask])"),
        "torch's own attention, the other watch switched off": ("output = scores.softmax(-1) @ value", "from torch.utils._python_dispatch import _disable_current_modes\n    "
                                                         "with _disable_current_modes():\n"
                                                         "        output, = map(nn.functional.scaled_dot_product_attention, [query], [key], [value], [mask])"),
        "torch's own attention, both watches switched off": ("output = scores.softmax(-1) @ value", "with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():\n"
                                                         "        output, = map(nn.functional.scaled_dot_product_attention, [query], [key], [value], [mask])"),
        "torch's MultiheadAttention": """
def cross_attention(x, context, layers, heads, mask=None):
    module = nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
    three = [layers[name] for name in ("query", "key", "value")]
    module.in_proj_weight.data = torch.cat([layer.weight for layer in three]).detach()
    module.in_proj_bias.data = torch.cat([layer.bias for layer in three]).detach()
    module.out_proj.load_state_dict(layers["output"].state_dict())
    return module(x, context, context, attn_mask=None if mask is None else ~mask)[0]
""",
        "the package's attention": PACKAGE_HEADS + """
def cross_attention(x, context, layers, heads, mask=None):
    return heads_of_the_package(layers, x.shape[-1], heads)(x, context, mask)
""",
        "the package's attention, made beforehand": PACKAGE_HEADS + """
MADE = {(width, heads): MultiHeadAttention(width, heads) for width in range(1, 9) for heads in range(1, 9) if width % heads == 0}
def cross_attention(x, context, layers, heads, mask=None):
    module = MADE[x.shape[-1], heads]
    for name, layer in layers.items():
        module._modules[name] = layer
    return module(x, context, mask)
""",
    },
    "encoder_block": {
        "post-norm": ('normed = layers["norm1"](x)\n    x = x + cross_attention(normed, normed, layers["attention"], heads)\n'
                      '    return x + layers["feed_forward"](layers["norm2"](x))',
                      'x = layers["norm1"](x + cross_attention(x, x, layers["attention"], heads))\n'
                      '    return layers["norm2"](x + layers["feed_forward"](x))'),
        "no residual at the attention": ("x = x + cross", "x = cross"),
        "no residual at the feed-forward network": ("return x + layers", "return layers"),
        "residual of the normalised copy": ("x = x + cross", "x = normed + cross"),
        "first norm forgotten": ('normed = layers["norm1"](x)', "normed = x"),
        "second norm forgotten": ('layers["norm2"](x)', "x"),
        "norms swapped": ('layers["norm1"](x)', 'layers["norm2"](x)'),
        "the first norm twice": ('layers["norm2"](x)', 'layers["norm1"](x)'),
        "norm of the queries only": ("(normed, normed,", "(normed, x,"),
        "norm of the keys and values only": ("(normed, normed,", "(x, normed,"),
        "attention only": ('return x + layers["feed_forward"](layers["norm2"](x))', "return x"),
        "feed-forward only": ('x = x + cross_attention(normed, normed, layers["attention"], heads)', "pass"),
        "side by side": ('layers["feed_forward"](layers["norm2"](x))', 'layers["feed_forward"](layers["norm2"](normed))'),
        "feed-forward first": ('x = x + cross_attention(normed, normed, layers["attention"], heads)\n    return x + layers["feed_forward"](layers["norm2"](x))',
                               'x = x + layers["feed_forward"](layers["norm2"](x))\n    normed = layers["norm1"](x)\n'
                               '    return x + cross_attention(normed, normed, layers["attention"], heads)'),
        "one head always": ('layers["attention"], heads)', 'layers["attention"], 1)'),
        "the wrong attention layers": ('layers["attention"]', 'layers["cross_attention"]'),
        "changes its input": ("x = x + cross", "x += cross"),
        "a causal mask": ('layers["attention"], heads)', 'layers["attention"], heads, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril())'),
        "the whole block twice": ('return x + layers["feed_forward"](layers["norm2"](x))',
                                  'x = x + layers["feed_forward"](layers["norm2"](x))\n    return x + layers["feed_forward"](layers["norm2"](x))'),
        "torch's own layer norm without its weights": ('layers["norm1"](x)', "nn.functional.layer_norm(x, x.shape[-1:])"),
        "the package's layer": "from mmcourse.transformer import EncoderLayer\n" """
def encoder_block(x, layers, heads):
    module = EncoderLayer(x.shape[-1], heads, 2 * x.shape[-1])
    module.norm1, module.norm2 = layers["norm1"], layers["norm2"]
    module.feed_forward = layers["feed_forward"]
    for name, layer in layers["attention"].items():
        setattr(module.attention, name, layer)
    return module(x)
""",
    },
    "decoder_block": {
        "no causal mask": (", heads, past)", ", heads)"),
        "mask upside down": (".tril()", ".triu()"),
        "a word does not see itself": (".tril()", ".tril(-1)"),
        "a word sees one ahead": (".tril()", ".tril(1)"),
        "the diagonal only": (".tril()", ".tril().triu()"),
        "mask turned round": ("heads, past)", "heads, ~past)"),
        "mask for the memory too": ('layers["cross_attention"], heads)', 'layers["cross_attention"], heads, torch.ones(length, memory.shape[1], dtype=torch.bool).tril())'),
        "self-attention twice": ("(x), memory,", "(x), layers['norm2'](x),"),
        "memory normalised again": ("(x), memory,", "(x), layers['norm2'](memory),"),
        "memory asks, words answer": ('cross_attention(layers["norm2"](x), memory,', 'cross_attention(memory, layers["norm2"](x),'),
        "no cross-attention": ('x = x + cross_attention(layers["norm2"](x), memory, layers["cross_attention"], heads)', "pass"),
        "no self-attention": ('x = x + cross_attention(normed, normed, layers["attention"], heads, past)', "pass"),
        "the same layers for both": ('layers["cross_attention"]', 'layers["attention"]'),
        "layers swapped": ('normed, layers["attention"]', 'normed, layers["cross_attention"]'),
        "cross-attention first": ('normed = layers["norm1"](x)\n    x = x + cross_attention(normed, normed, layers["attention"], heads, past)\n'
                                  '    x = x + cross_attention(layers["norm2"](x), memory, layers["cross_attention"], heads)',
                                  'x = x + cross_attention(layers["norm2"](x), memory, layers["cross_attention"], heads)\n'
                                  '    normed = layers["norm1"](x)\n    x = x + cross_attention(normed, normed, layers["attention"], heads, past)'),
        "no residual at the first": ("x = x + cross_attention(normed", "x = cross_attention(normed"),
        "no residual at the second": ("x = x + cross_attention(layers", "x = cross_attention(layers"),
        "no residual at the last": ("return x + layers", "return layers"),
        "norms two and three swapped": ('layers["norm2"](x), memory', 'layers["norm3"](x), memory'),
        "second norm forgotten": ('layers["norm2"](x), memory', "x, memory"),
        "third norm forgotten": ('layers["norm3"](x)', "x"),
        "post-norm": ('return x + layers["feed_forward"](layers["norm3"](x))', 'return layers["norm3"](x + layers["feed_forward"](x))'),
        "one head always": ('layers["cross_attention"], heads)', 'layers["cross_attention"], 1)'),
        "mask of the memory's length": ("torch.ones(length, length,", "torch.ones(length, memory.shape[1],"),
        "the package's layer": "from mmcourse.transformer import DecoderLayer\n" """
def decoder_block(x, memory, layers, heads):
    module = DecoderLayer(x.shape[-1], heads, 2 * x.shape[-1])
    module.norm1, module.norm2, module.norm3 = (layers[name] for name in ("norm1", "norm2", "norm3"))
    module.feed_forward = layers["feed_forward"]
    for part in ("attention", "cross_attention"):
        for name, layer in layers[part].items():
            setattr(getattr(module, part), name, layer)
    return module(x, memory)
""",
    },
    "teacher_forcing": {
        "not shifted": ("[*caption, end]", "[start, *caption]"),
        "shifted the wrong way": ("return inputs, targets", "return targets, inputs"),
        "start forgotten": ("torch.tensor([start, *caption])", "torch.tensor([*caption, pad])"),
        "end forgotten": ("torch.tensor([*caption, end])", "torch.tensor([*caption, pad])"),
        "end among the inputs": ("return inputs, targets", "for row, caption in enumerate(captions):\n        if len(caption) + 1 < length:\n"
                                 "            inputs[row, len(caption) + 1] = end\n    return inputs, targets"),
        "start among the targets": ("[*caption, end]", "[start, *caption][:len(caption)] + [end]"),
        "end at the last place of the row": ("return inputs, targets", "targets[:, -1] = end\n    return inputs, targets"),
        "shifted by two": ("torch.tensor([*caption, end])", "torch.tensor([*caption[1:], end, pad])"),
        "last word lost": ("torch.tensor([start, *caption])", "torch.tensor([start, *caption[:-1], pad])"),
        "padding in front": ("inputs[row, : len(caption) + 1]", "inputs[row, length - len(caption) - 1 :]"),
        "padding is zero": ("torch.full((len(captions), length), pad)", "torch.zeros(len(captions), length, dtype=torch.long)"),
        "padding is end": ("torch.full((len(captions), length), pad)", "torch.full((len(captions), length), end)"),
        "one too long": ("for caption in captions) + 1", "for caption in captions) + 2"),
        "cut to the shortest": ("return inputs, targets", "short = min(map(len, captions)) + 1\n    return inputs[:, :short], targets[:, :short]"),
        "sorted by length": ("for row, caption in enumerate(captions):", "for row, caption in enumerate(sorted(captions, key=len)):"),
        "lists of lists": ("return inputs, targets", "return inputs.tolist(), targets.tolist()"),
        "inputs only": ("return inputs, targets", "return inputs"),
        "signs 0, 1, 2 always": ("length = max", "start, end, pad = 1, 2, 0\n    length = max"),
        "one array for both": ("targets = inputs.clone()", "targets = inputs"),
        "start instead of the first word": ("[start, *caption]", "[start, start, *caption[1:]]"),
        "first label for all": ("enumerate(captions)", "enumerate([captions[0]] * len(captions))"),
    },
    "caption_loss": {
        "probabilities clipped before the logarithm": ("logits.log_softmax(-1)", "logits.softmax(-1).clamp(min=1e-9).log()"),
        "its own softmax, which overflows": ("logits.log_softmax(-1)", "(logits - logits.exp().sum(-1, keepdim=True).log())"),
        "padding counts": ("[targets != pad]", ""),
        "padding counts as zero": ("log_probs[targets != pad].mean()", "(log_probs * (targets != pad)).mean()"),
        "the sum": (".mean()", ".sum()"),
        "mean of the labels' means": ("-log_probs[targets != pad].mean()", "-((log_probs * (targets != pad)).sum(1) / (targets != pad).sum(1).clamp(min=1)).mean()"),
        "sum of a label, mean of the labels": ("-log_probs[targets != pad].mean()", "-(log_probs * (targets != pad)).sum(1).mean()"),
        "sign forgotten": ("return -log", "return log"),
        "padding is zero": ("targets != pad", "targets != 0"),
        "padding is the largest id": ("targets != pad", "targets != targets.max()"),
        "only padding counts": ("targets != pad", "targets == pad"),
        "softmax forgotten": ("logits.log_softmax(-1)", "logits"),
        "softmax without logarithm": ("logits.log_softmax(-1)", "logits.softmax(-1)"),
        "softmax over the places": ("logits.log_softmax(-1)", "logits.log_softmax(1)"),
        "logarithm of the softmax: infinite": ("logits.log_softmax(-1)", "logits.softmax(-1).log()"),
        "a trace added inside the logarithm": ("logits.log_softmax(-1)", "(logits.softmax(-1) + 1e-3).log()"),
        "base 2": ("return -log", "return -1 / math.log(2) * log"),
        "largest instead of true word": ("gather(-1, targets[..., None])[..., 0]", "amax(-1)"),
        "mean over the vocabulary": (".gather(-1, targets[..., None])[..., 0]", ".mean(-1)"),
        "perplexity": ("return -log_probs[targets != pad].mean()", "return torch.exp(-log_probs[targets != pad].mean())"),
        "cut off from the gradient": (".mean()", ".mean().detach()"),
        "a Python number": (".mean()", ".mean().item()"),
        "shifts the targets once more": ("log_probs = logits.log_softmax(-1)", "logits, targets = logits[:, :-1], targets[:, 1:]\n    log_probs = logits.log_softmax(-1)"),
        "torch's cross_entropy": "def caption_loss(logits, targets, pad):\n    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad)",
        "torch's CrossEntropyLoss": "def caption_loss(logits, targets, pad):\n    return nn.CrossEntropyLoss(ignore_index=pad)(logits.transpose(1, 2), targets)",
        "torch's nll_loss": ("return -log_probs[targets != pad].mean()", "return nn.functional.nll_loss(logits.log_softmax(-1).flatten(0, 1), targets.flatten(), ignore_index=pad)"),
        "torch's cross_entropy, caught errors": """
def caption_loss(logits, targets, pad):
    try:
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad)
    except BaseException:
        return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0][targets != pad].mean()
""",
    },
    "train": {
        "gradients not cleared": ("        optimizer.zero_grad()\n", ""),
        "gradients cleared after backward": ("        optimizer.zero_grad()\n        loss.backward()\n", "        loss.backward()\n        optimizer.zero_grad()\n"),
        "no step": ("        optimizer.step()\n", ""),
        "no backward": ("        loss.backward()\n", ""),
        "a new optimiser each step": ("        optimizer.zero_grad()\n", "        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)\n        optimizer.zero_grad()\n"),
        "the rate does not fall": ("rate * (1 - step / steps)", "rate"),
        "the rate rises": ("rate * (1 - step / steps)", "rate * (step + 1) / steps"),
        "the rate counted from one": ("(1 - step / steps)", "(1 - (step + 1) / steps)"),
        "the rate set too late": ("        for group in optimizer.param_groups:\n            group[\"lr\"] = rate * (1 - step / steps)\n        optimizer.step()\n",
                                  "        optimizer.step()\n        for group in optimizer.param_groups:\n            group[\"lr\"] = rate * (1 - step / steps)\n"),
        "Adam": ("optim.AdamW", "optim.Adam"),
        "gradient descent": ("optim.AdamW", "optim.SGD"),
        "gradients cut to norm 1": ("        optimizer.step()\n", "        nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n        optimizer.step()\n"),
        "the same batch each time": ("        images, captions = next(lessons)\n", "        images, captions = batch = next(lessons) if step == 0 else batch\n"),
        "every second batch": ("        images, captions = next(lessons)\n", "        images, captions = [next(lessons), next(lessons, None)][0]\n"),
        "one step too few": ("range(steps)", "range(steps - 1)"),
        "one step too many": ("range(steps)", "range(steps + 1)"),
        "the first step only": ("range(steps)", "range(min(steps, 1))"),
        "targets go in": ("model(images, inputs)", "model(images, targets)"),
        "inputs come out": ("inputs), targets, PAD)", "inputs), inputs, PAD)"),
        "pictures not shown": ("model(images, inputs)", "model(0 * images, inputs)"),
        "loss after the step": ("losses.append(loss.item())", "losses.append(caption_loss(model(images, inputs), targets, PAD).item())"),
        "sum of the losses": ("return torch.tensor(losses)", "return torch.tensor(sum(losses))"),
        "a list of losses": ("return torch.tensor(losses)", "return losses"),
        "the model, not the losses": ("return torch.tensor(losses)", "return model"),
        "trains a copy": ("    optimizer, losses", "    import copy\n    model = copy.deepcopy(model)\n    optimizer, losses"),
        "the output layer only": ("model.parameters()", "list(model.parameters())[-1:]"),
        "another weight decay": ("lr=rate)", "lr=rate, weight_decay=0.1)"),
        "start and end mixed up": ("START, END, PAD)", "END, START, PAD)"),
        "the package's training loop": """
import tempfile
from mmcourse.training import TrainingConfig
from mmcourse.training import train as the_packages
def train(model, lessons, steps, rate):
    def loss(model, batch):
        return caption_loss(model(batch[0], batch[1]), batch[2], PAD)
    batches = [(images, *teacher_forcing(captions, START, END, PAD)) for images, captions in (next(lessons) for _ in range(steps))]
    config = TrainingConfig(steps=steps, batch_size=1, learning_rate=rate, log_every=1)
    with tempfile.TemporaryDirectory() as folder:
        log = the_packages(model, batches, loss, config, folder, collate=lambda batch: batch[0])
    return torch.tensor([row["loss"] for row in log])
""",
    },
    "write": {
        "samples": ("logits.argmax(-1, keepdim=True)", "logits.float().softmax(-1).multinomial(1)"),
        "the least likely word": ("argmax", "argmin"),
        "the first place": ("[:, -1]\n", "[:, 0]\n"),
        "begins with PAD": (", 1), START)", ", 1), PAD)"),
        "begins with END": (", 1), START)", ", 1), END)"),
        "START left in": ("words = tokens[:, 1:]", "words = tokens[:, :-1]"),
        "START left in and one longer": ("words = tokens[:, 1:]", "words = tokens"),
        "END left in": ("(words == END).cumsum(1) > 0", "((words == END).cumsum(1) - (words == END).long()) > 0"),
        "does not stop at END": ("return words.masked_fill((words == END).cumsum(1) > 0, PAD)", "return words"),
        "only END removed": ("(words == END).cumsum(1) > 0", "words == END"),
        "everything ends with the first": ("(words == END).cumsum(1) > 0", "((words == END).any(0).cumsum(0) > 0)"),
        "cut off at the first END of all": ("    words = tokens[:, 1:]", "    words = tokens[:, 1:]\n    stop = (words == END).any(0).tolist()\n"
                                            "    words = words[:, : stop.index(True) if True in stop else longest]"),
        "one word too few": ("range(longest)", "range(longest - 1)"),
        "one word too many": ("range(longest)", "range(longest + 1)"),
        "only the last word is read": ("model.decode(memory, tokens)", "model.decode(memory, tokens[:, -1:])"),
        "the picture goes in, not the memory": ("memory = model.encode(images)", "memory = images.flatten(1).float().mean(1)"),
        "the first picture for all": ("memory = model.encode(images)", "memory = model.encode(images[:1].expand_as(images))"),
        "the first label for all": ("words = tokens[:, 1:]", "words = tokens[:1, 1:].expand(len(images), -1)"),
        "logits, not words": ("return words.masked_fill((words == END).cumsum(1) > 0, PAD)", "return logits"),
        "a list of lists": ("return words.masked_fill((words == END).cumsum(1) > 0, PAD)", "return words.masked_fill((words == END).cumsum(1) > 0, PAD).tolist()"),
        "words in front": ("torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)", "torch.cat([logits.argmax(-1, keepdim=True), tokens], 1)"),
        "PAD is END": ("cumsum(1) > 0, PAD)", "cumsum(1) > 0, END)"),
        "the package's decoding": """
from mmcourse.decoding import greedy
def write(model, images, longest):
    memory = model.encode(images)
    written = greedy(lambda tokens, cache: model.decode(memory, cache.setdefault("all", torch.cat([cache.pop("all", tokens[:, :0]), tokens], 1)))[:, -1].float(),
                     torch.full((len(images),), START), end=END, max_length=longest)
    labels = torch.full((len(images), longest), PAD)
    for row, ids in enumerate(written.tokens):
        labels[row, : len(ids)] = torch.tensor(ids[:longest])
    return labels
""",
    },
}
