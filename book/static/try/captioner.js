// The captioner in the page: what mmcourse.serving.onnx exported, run by ONNX Runtime, with nothing from a network.
// The large files are scripts, which a browser also loads from a folder on a disk; Captioner.load() asks for them.
const Captioner = (() => {
  const HERE = document.currentScript.src.replace(/[^/]*$/, "");
  const RUNTIME = "../vendor/onnxruntime/";
  const LARGEST = 50e6; // pixels of a picture; a browser takes four bytes for each
  const LONGEST = 16384; // pixels of a side: no canvas is wider everywhere
  const BAND = 2 ** 21; // pixels that are read at once
  const LEAST = 1e-3; // a probability is cut at it and at one minus it, so that its log-odds are finite
  const KIND = "Bring a PNG, JPEG, GIF, WebP or BMP file.";
  let about, pictureGraph, wordsGraph, loading;

  class Advice extends Error {} // what it says is for the reader; other errors are for programmers

  // ---- loading

  // A sentence when this browser cannot run the captioner, else "".
  function missing() {
    const simd = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
    if (typeof WebAssembly === "undefined" || !WebAssembly.validate(new Uint8Array(simd))) {
      return "This browser has no WebAssembly (or it is turned off), and the captioner needs it. " +
        "Above is what it does; to try it, open this page in a current Firefox, Chrome, Edge or Safari.";
    }
    if (typeof DecompressionStream === "undefined") {
      return "This browser is too old to unpack the captioner. Above is what it does; " +
        "to try it, open this page in a current Firefox, Chrome, Edge or Safari.";
    }
    return "";
  }

  function loadScript(path) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = HERE + path;
      script.onload = resolve;
      script.onerror = () => reject(new Advice(`${path.replace(/^.*\//, "")} did not come. Reload the page; if that ` +
        "does not help, the folder of the book is not whole: build or download it again."));
      document.head.append(script);
    });
  }

  // The bytes of a packed file, which is kept no longer: base64 of gzip.
  async function unpack(name) {
    const letters = atob(globalThis.packedFiles[name]);
    delete globalThis.packedFiles[name];
    const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Load once; after a failure the next call tries again.
  function load() {
    loading ??= start().catch((error) => {
      loading = undefined;
      throw error;
    });
    return loading;
  }

  async function start() {
    await Promise.all([RUNTIME + "ort.wasm.min.js", RUNTIME + "packed.js", "graphs.js"].map(loadScript));
    const module = new Blob([await unpack("ort-wasm-simd-threaded.mjs")], { type: "text/javascript" });
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = (await unpack("ort-wasm-simd-threaded.wasm")).buffer;
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(module) };
    about = JSON.parse(new TextDecoder().decode(await unpack("captioner.json")));
    const options = { executionProviders: ["wasm"] };
    pictureGraph = await ort.InferenceSession.create(await unpack("picture.onnx"), options);
    wordsGraph = await ort.InferenceSession.create(await unpack("words.onnx"), options);
    await see(new Uint8Array(about.image_size ** 2 * 3)); // the first run is slow, and the reader's is not to be
    return about;
  }

  // ---- from a picture to pixels, as mmcourse.data.pictures.load_picture

  // A file as a picture: { image, width, height, notes }. An Error says what to do instead.
  async function open(file) {
    const name = file.name ? `“${file.name}”` : "This";
    if (!file.size) throw new Advice(`${name} is empty. ${KIND}`);
    if (file.type === "image/svg+xml") throw new Advice(`${name} is a drawing in SVG, which has no pixels. ${KIND}`);
    const image = new Image(), address = URL.createObjectURL(file);
    try {
      await new Promise((resolve, reject) => {
        image.onload = resolve;
        image.onerror = () => reject(new Advice(`${name} is no picture that this browser can read. ${KIND}`));
        image.src = address;
      });
      const { naturalWidth: width, naturalHeight: height } = image;
      if (!width || !height) throw new Advice(`${name} does not say how large it is. ${KIND}`);
      if (width * height > LARGEST || Math.max(width, height) > LONGEST) {
        throw new Advice(`${name} has ${width} × ${height} pixels, and the page takes up to 50 million, ` +
          "no side longer than 16,384. Make it smaller first; the captioner sees 64 × 64 of them.");
      }
      await whole(file, name);
      const notes = animated(new Uint8Array(await file.arrayBuffer()))
        ? ["It is animated: the captioner sees its first picture only."] : [];
      return { image, width, height, notes };
    } finally {
      URL.revokeObjectURL(address); // the picture keeps its bytes
    }
  }

  // An Error for a file whose end is missing: an Image shows what there is of it.
  async function whole(file, name) {
    const picture = await createImageBitmap(file).catch(() => {
      throw new Advice(`${name} is cut off or damaged: copy or download it again. ${KIND}`);
    });
    picture.close();
  }

  // Whether the bytes of a file are those of an animation: a GIF of two frames, each after its control block, a PNG with
  // a chunk acTL before its pixels, or a WebP with that bit in its first chunk.
  function animated(bytes) {
    const text = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
    if (text(0, 3) === "GIF") {
      let frames = 0;
      for (let at = 0; at < bytes.length - 8 && frames < 2; at++) {
        const control = bytes[at] === 0x21 && bytes[at + 1] === 0xf9 && bytes[at + 2] === 4 && bytes[at + 7] === 0;
        if (control && [0x21, 0x2c].includes(bytes[at + 8])) frames++;
      }
      return frames > 1;
    }
    if (text(1, 4) === "PNG") {
      const chunks = new DataView(bytes.buffer, bytes.byteOffset);
      let at = 8;
      while (at + 8 <= bytes.length && !["acTL", "IDAT"].includes(text(at + 4, at + 8))) at += 12 + chunks.getUint32(at);
      return text(at + 4, at + 8) === "acTL";
    }
    return text(8, 16) === "WEBPVP8X" && (bytes[20] & 2) > 0;
  }

  // The picture as the captioner sees it, RGB bytes (S, S, 3): its longer side becomes S, its edge fills the square.
  // What is transparent lies on white, and is told in `notes`.
  function fit({ image, width, height, notes = [] }, size = about.image_size) {
    const longer = Math.max(width, height);
    const [wide, high] = [width, height].map((side) => Math.max(1, even(side * size / longer)));
    const across = resampling(width, wide), down = resampling(height, high);
    const small = new Uint8ClampedArray(high * wide * 3);
    let clear;
    if (height > 2 * width && high < height) { // Pillow then begins with the columns
      const short = new Uint8ClampedArray(high * width * 3);
      clear = inBands(image, width, height, true, (pixels, left, columns) => {
        for (let x = 0; x < columns; x++) resample(pixels, x * 4, columns * 4, down, short, (left + x) * 3, width * 3);
      });
      for (let y = 0; y < high; y++) resample(short, y * width * 3, 3, across, small, y * wide * 3, 3);
    } else {
      const narrow = new Uint8ClampedArray(height * wide * 3);
      clear = inBands(image, width, height, false, (pixels, top, rows) => {
        for (let y = 0; y < rows; y++) resample(pixels, y * width * 4, 4, across, narrow, (top + y) * wide * 3, 3);
      });
      for (let x = 0; x < wide; x++) resample(narrow, x * 3, wide * 3, down, small, x * 3, wide * 3);
    }
    if (clear) notes.push("Parts of it are transparent: they lie on white.");
    return pad(small, wide, high, size);
  }

  // Read a picture a band at a time, so that a large one fits in memory: onBand(pixels, start, thickness) gets RGBA on
  // white, in bands of columns or of rows. Whether any pixel was not opaque.
  function inBands(image, width, height, columns, onBand) {
    const [length, side] = columns ? [width, height] : [height, width];
    const most = Math.min(length, Math.max(1, Math.floor(BAND / side)));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = columns ? [most, height] : [width, most];
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    let clear = false;
    for (let start = 0; start < length; start += most) {
      const thick = Math.min(most, length - start);
      const [x, y, w, h] = columns ? [start, 0, thick, height] : [0, start, width, thick];
      pen.clearRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(image, x, y, w, h, 0, 0, w, h);
      const pixels = pen.getImageData(0, 0, w, h).data;
      clear = onWhite(pixels) || clear;
      onBand(pixels, start, thick);
    }
    return clear;
  }

  // To a whole number, halves to the even one, as Python rounds.
  function even(number) {
    const nearest = Math.round(number);
    return nearest - number === 0.5 && nearest % 2 ? nearest - 1 : nearest;
  }

  // Put RGBA pixels on white, in place. Whether any was not opaque.
  function onWhite(pixels) {
    let clear = false;
    for (let at = 0; at < pixels.length; at += 4) {
      const alpha = pixels[at + 3];
      if (alpha === 255) continue;
      clear = true;
      for (let colour = at; colour < at + 3; colour++) {
        const mixed = pixels[colour] * alpha + 255 * (255 - alpha) + 128;
        pixels[colour] = ((mixed >> 8) + mixed) >> 8;
      }
    }
    return clear;
  }

  // Bicubic with a wider kernel for a smaller picture, in the whole numbers that Pillow computes with: for each place of
  // the result the first place that counts, and its weights in 2 ** -22.
  function resampling(from, to) {
    const scale = from / to, wider = Math.max(scale, 1), support = 2 * wider;
    return Array.from({ length: to }, (_, place) => {
      if (from === to) return { first: place, weights: Int32Array.of(2 ** 22) }; // as it is
      const centre = (place + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - support + 0.5));
      const last = Math.min(from, Math.trunc(centre + support + 0.5));
      const weights = [];
      for (let at = first; at < last; at++) weights.push(bicubic((at - centre + 0.5) / wider));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const whole = weights.map((weight) => Math.trunc(weight / total * 2 ** 22 + (weight < 0 ? -0.5 : 0.5)));
      return { first, weights: Int32Array.from(whole) };
    });
  }

  function bicubic(x) {
    const a = -0.5, far = Math.abs(x);
    if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
    return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
  }

  // One row or column: `from` begins at `start` and has a pixel every `step` numbers, `to` at `begin` every `stride`.
  function resample(from, start, step, plan, to, begin, stride) {
    for (let place = 0; place < plan.length; place++) {
      const { first, weights } = plan[place];
      let red = 2 ** 21, green = 2 ** 21, blue = 2 ** 21; // a half, so that cutting off rounds
      for (let k = 0, at = start + first * step; k < weights.length; k++, at += step) {
        red += from[at] * weights[k];
        green += from[at + 1] * weights[k];
        blue += from[at + 2] * weights[k];
      }
      const out = begin + place * stride;
      [to[out], to[out + 1], to[out + 2]] = [red >> 22, green >> 22, blue >> 22]; // clamped to 0 to 255
    }
  }

  // A picture (high, wide, 3) in the middle of a square, its edge repeated.
  function pad(picture, wide, high, size) {
    const square = new Uint8Array(size * size * 3);
    const left = Math.floor((size - wide) / 2), top = Math.floor((size - high) / 2);
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const row = Math.min(high - 1, Math.max(0, y - top)), column = Math.min(wide - 1, Math.max(0, x - left));
        const from = (row * wide + column) * 3;
        square.set(picture.subarray(from, from + 3), (y * size + x) * 3);
      }
    }
    return square;
  }

  // ---- from pixels to a sentence

  // What the decoder looks at, and how probable each noun is in each cell: of RGB bytes (S, S, 3).
  async function see(pixels) {
    const side = about.image_size;
    return pictureGraph.run({ images: new ort.Tensor("uint8", pixels, [1, side, side, 3]) });
  }

  // The scores of the next word after each of the `words`, (1, T, V), and where each looked, (1, layers, H, T, N).
  async function decode(memory, words) {
    const numbers = BigInt64Array.from(words, BigInt);
    return wordsGraph.run({ memory, words: new ort.Tensor("int64", numbers, [1, words.length]) });
  }

  // The most probable word, again and again: as mmcourse.decoding.greedy. onWord(word, attention) is called for each, and
  // for the end; when it returns false, the rest is not written. Gives the words and, of each, the attention (N).
  async function write(memory, onWord = () => true) {
    const words = [], looks = [];
    while (words.length < about.max_length) {
      const { logits, attention } = await decode(memory, [about.start, ...words]);
      const scores = logits.data.subarray(-about.words.length);
      const next = scores.reduce((best, score, word) => (score > scores[best] ? word : best), 0);
      looks.push(lastLook(attention));
      if (next === about.end) {
        onWord(null, looks.at(-1));
        break;
      }
      words.push(next);
      if (!onWord(about.words[next], looks.at(-1))) break;
    }
    return { words: words.map((word) => about.words[word]), looks };
  }

  // Where the last word looked, (N): the mean over layers and heads.
  function lastLook({ data, dims: [, layers, heads, length, cells] }) {
    const look = new Float64Array(cells);
    for (let map = 0; map < layers * heads; map++) {
      const start = (map * length + length - 1) * cells;
      for (let cell = 0; cell < cells; cell++) look[cell] += data[start + cell] / (layers * heads);
    }
    return look;
  }

  // The probability that every noun of a sentence is right: as SceneCaptioner.confidences.
  async function confidence(pixels, readings, words) {
    const mirrored = (await see(mirror(pixels))).readings;
    const named = nounsOf(words);
    const found = [readings, mirrored].map((view) => lookFor(view, named));
    if (!named.length) return 0;
    const seen = Math.min(...named.map((_, noun) => (found[0].seen[noun] + found[1].seen[noun]) / 2));
    const other = (found[0].other + found[1].other) / 2;
    if (!about.calibration) return seen;
    const odds = [seen, other].map((p) => Math.min(1 - LEAST, Math.max(LEAST, p))).map((p) => Math.log(p / (1 - p)));
    const [offset, first, second] = about.calibration;
    return 1 / (1 + Math.exp(-(offset + first * odds[0] + second * odds[1])));
  }

  function mirror(pixels) {
    const side = about.image_size, turned = new Uint8Array(pixels.length);
    for (let at = 0; at < side * side; at++) {
      const other = at - at % side + (side - 1 - at % side);
      turned.set(pixels.subarray(at * 3, at * 3 + 3), other * 3);
    }
    return turned;
  }

  // How well each named noun is seen in the cell where it is seen best, and how well something else is.
  function lookFor({ data, dims: [, cells, nouns] }, named) {
    const seen = named.map(() => 0);
    let other = -Infinity;
    for (let cell = 0; cell < cells; cell++) {
      const reading = (noun) => data[cell * nouns + noun];
      named.forEach((noun, number) => { seen[number] = Math.max(seen[number], reading(noun)); });
      const rest = named.reduce((left, noun) => left - reading(noun), 1 - reading(0));
      other = Math.max(other, rest);
    }
    return { seen, other };
  }

  // The numbers of the nouns that a sentence names; of two phrases that begin at a word, the longer one counts.
  function nounsOf(words) {
    const longest = Math.max(...Object.keys(about.phrases).map((phrase) => phrase.split(" ").length));
    const found = new Set();
    for (let at = 0; at < words.length;) {
      let length = Math.min(longest, words.length - at);
      while (length > 1 && !(words.slice(at, at + length).join(" ") in about.phrases)) length--;
      const noun = about.phrases[words.slice(at, at + length).join(" ")];
      if (noun) found.add(noun);
      at += length;
    }
    return [...found].sort((a, b) => a - b);
  }

  // The sentence of pixels (S, S, 3), where it looked, and how sure it is. For onWord see write().
  async function caption(pixels, onWord) {
    const { memory, readings } = await see(pixels);
    const { words, looks } = await write(memory, onWord);
    return { words, looks, confidence: await confidence(pixels, readings, words) };
  }

  return { Advice, missing, loadScript, load, open, fit, animated, see, decode, write, nounsOf, caption };
})();
