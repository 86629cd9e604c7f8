// A caption word by word: where the decoder looked, and the beams among which the sentence was found.

// Where one word looked, (N): the mean over the chosen layers and heads, -1 for all. Stored are thousandths, flat.
function look({ attention, shape: [L, H, T, N] }, word, layer, head) {
  const layers = layer < 0 ? range(L) : [layer], heads = head < 0 ? range(H) : [head];
  return range(N).map((n) => layers.reduce((total, l) => total + heads.reduce((sum, h) =>
    sum + attention[((l * H + h) * T + word) * N + n], 0), 0) / 1000 / layers.length / heads.length);
}

// The words of a candidate, from the start.
function sentence(steps, step, place) {
  const words = [];
  for (let at = place; step >= 0; step--) {
    words.unshift(steps[step][at][1]);
    at = steps[step][at][0];
  }
  return words;
}

// The best finished sentence up to a step: log-probability per word, the end counted. null when none is finished.
function best(steps, last) {
  let found = null;
  steps.slice(0, last + 1).forEach((candidates, step) => candidates.forEach(([, , logProb, fate], place) => {
    const score = logProb / (step + 1);
    if (fate === "ended" && (!found || score > found.score)) found = { step, place, score };
  }));
  return found;
}

// For each candidate up to a step, whether it is finished or has a descendant that is still in the race.
function alive(steps, last) {
  const lives = steps.slice(0, last + 1).map((candidates) => candidates.map(([, , , fate]) => fate === "ended"));
  steps[last].forEach(([, , , fate], place) => { lives[last][place] = fate !== "dropped"; });
  for (let step = last; step > 0; step--) {
    steps[step].forEach(([parent], place) => { if (lives[step][place]) lives[step - 1][parent] = true; });
  }
  return lives;
}

// The word at which it looked most closely, the end left out: the figure starts there.
function sharpest(story) {
  const peaks = story.words.slice(0, -1).map((_, word) => Math.max(...look(story, word, -1, -1)));
  return Math.max(0, peaks.indexOf(Math.max(...peaks)));
}

const shown = (word) => (word === "<end>" ? "■" : word);
const plain = (words) => words.filter((word) => word !== "<end>").join(" ");
const FATES = { kept: "kept", ended: "finished", dropped: "dropped", greedy: "greedy" };

function render({ model, el }) {
  const stories = model.get("stories");
  const card = newCard(el, "A captioner at work");
  let story = stories[0], word = sharpest(story), layer = -1, head = -1, step = 0, panel = 0;

  const picture = (one) => make("img", { src: one.picture, alt: plain(one.words) });
  const scenes = newChoice("Scene", stories.map(picture), 0, (i) => {
    [story, word, step] = [stories[i], sharpest(stories[i]), 0];
    layer = Math.min(layer, story.shape[0] - 1);
    head = Math.min(head, story.shape[1] - 1);
    show();
  });
  const panels = newChoice("What to show", ["Where it looked", "How it found the words"], 0, (i) => {
    panel = i;
    show();
  });
  const content = make("div", { class: "mm-wide mm-body" });
  card.body.append(
    make("div", { class: "mm-wide mm-row" }, ...(stories.length > 1 ? [scenes.box] : []), panels.box), content);
  show();

  function show() {
    content.replaceChildren(...(panel === 0 ? looking() : searching()));
  }

  // Panel 1: the picture, what is true of it, and the words as buttons.
  function looking() {
    const [height, width] = story.size, cells = Math.sqrt(story.shape[3]);
    const veil = make("g", {});
    const peak = make("rect", { fill: "none", stroke: "var(--ink)", "stroke-width": 3, ...EVEN });
    const scene = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", style: "max-width: 340px" },
      make("image", { href: story.picture, width, height }), veil, ...story.boxes.flatMap(boxed), peak);
    const words = newChoice("Words of the caption", story.words.map(shown), word, (i) => { word = i; draw(); });
    words.buttons.forEach((button, i) => {
      if (story.words[i] === "<end>") set(button, { "aria-label": "end of the sentence" });
      button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") words.choose(i); });
    });
    const [layers, heads] = story.shape;
    const controls = [newSelect("Layer", layers, layer, (i) => { layer = i; draw(); }),
      newSelect("Head", heads, head, (i) => { head = i; draw(); })];
    draw();
    return [make("div", {}, scene), make("div", {},
      make("p", { class: "mm-note", style: "margin-bottom: 6px" },
        "It wrote (point at a word, or use the arrow keys):"), words.box,
      make("p", { class: "mm-note", style: "margin: 10px 0" }, `Someone who knows the scene: “${story.truth}”.`),
      make("div", { class: "mm-row" }, ...controls),
      make("p", { class: "mm-note" }, "The less weight a cell has, the more it fades; the largest has a dark frame. " +
        "The coloured boxes are the truth; the captioner does not get them."))];

    function draw() {
      const weights = look(story, word, layer, head), top = Math.max(...weights, 1e-9);
      const [wide, high] = [width / cells, height / cells];
      const at = (n) => ({ x: (n % cells) * wide, y: Math.floor(n / cells) * high, width: wide, height: high });
      veil.replaceChildren(...weights.map((weight, n) =>
        make("rect", { ...at(n), fill: "var(--paper)", "fill-opacity": write(0.88 * (1 - weight / top)) })));
      const n = weights.indexOf(Math.max(...weights)), { x, y } = at(n);
      set(peak, at(n));
      const inside = story.boxes.filter(([, [x0, y0, x1, y1]]) => {
        const [left, up] = [x + wide / 2, y + high / 2]; // the middle of the cell
        return x0 <= left && left < x1 && y0 <= up && up < y1;
      });
      const [l, h] = [layer < 0 ? "all layers" : `layer ${layer + 1}`, head < 0 ? "all heads" : `head ${head + 1}`];
      const place = inside.length ? `inside the box of ${inside[0][0]}` : "outside of all boxes";
      const name = story.words[word] === "<end>" ? "The end" : `“${story.words[word]}”`;
      set(scene, { "aria-label": `Where the captioner looked for ${name}` });
      card.say(`${name}, ${word + 1} of ${story.words.length} (${l}, ${h}): the largest weight, ` +
        `${write(weights[n])}, lies in row ${Math.floor(n / cells) + 1}, column ${n % cells + 1}, ${place}.`);
    }
  }

  // A box of the truth with its name, in units of the picture.
  function boxed([name, [x0, y0, x1, y1]], i) {
    const [height, width] = story.size, size = 0.05 * height;
    const up = y0 > size * 1.1 ? y0 - size * 0.3 : Math.min(y1 + size, height - 1);
    const left = clamp(x0, 0, Math.max(0, width - name.length * size * 0.6));
    const frame = { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: "none", stroke: hue(i), "stroke-width": 2 };
    const letters = `font-size: ${size}px; font-weight: 600; stroke: var(--paper); stroke-width: ${size / 4}px; `;
    return [make("rect", { ...frame, ...EVEN }),
      make("text", { x: left, y: up, style: letters + "paint-order: stroke" }, name)];
  }

  function newSelect(name, n, chosen, onChange) {
    const options = range(n).map((i) => make("option", { value: i }, i + 1));
    const select = make("select", { onchange: () => onChange(+select.value) },
      make("option", { value: -1 }, n === 1 ? "the only one" : `mean of ${n}`), ...options);
    select.value = chosen;
    return make("label", {}, `${name}: `, select);
  }

  // Panel 2: the beams as a tree that grows with each step, and the candidates of the step as a table.
  function searching() {
    const steps = story.steps, last = steps.length - 1;
    const region = { tabindex: 0, role: "region", "aria-label": "Tree of beams" };
    const scroll = make("div", { class: "mm-wide mm-scroll", ...region });
    const table = make("div", { class: "mm-wide mm-scroll", style: "max-height: none" });
    const options = { min: 1, max: steps.length, value: step + 1, words: (i) => `${i} of ${steps.length}` };
    const slider = newSlider("Step", options, (i) => { step = i - 1; draw(); });
    const go = (by) => () => { step = clamp(step + by, 0, last); slider.set(step + 1); draw(); };
    const buttons = make("div", { class: "mm-row", style: "flex: 0 0 auto" },
      newButton("Previous", go(-1)), newButton("Next", go(1)));
    const rest = make("div", {}, slider.box);
    queueMicrotask(draw); // when the tree is in the page, so that it can scroll
    return [buttons, rest, scroll, table];

    function draw() {
      scroll.replaceChildren(tree(steps, step));
      scroll.scrollLeft = scroll.scrollWidth;
      const top = best(steps, step), kinds = steps[step].map(([, , , fate]) => fate);
      table.replaceChildren(candidates(steps, step, top));
      const many = (fate) => kinds.filter((kind) => kind === fate).length;
      const counts = Object.keys(FATES).filter(many).map((fate) => `${many(fate)} ${FATES[fate]}`).join(", ");
      const leader = top ? `Best finished sentence: “${plain(sentence(steps, top.step, top.place))}”, ` +
        `${write(top.score)} per word.` : "No sentence is finished yet.";
      card.say(`Step ${step + 1} of ${steps.length}: ${kinds.length} candidates, of which ${counts}. ${leader}` +
        (step === last ? " The search stops here: no beam that is left can do better." : ""));
    }
  }

  function candidates(steps, step, top) {
    const head = make("tr", {}, ...["candidate", "log p", "per word", ""].map((text) => make("th", {}, text)));
    return make("table", {}, head, ...steps[step].map(([, , logProb, fate], place) => {
      const words = sentence(steps, step, place), winner = top && top.step === step && top.place === place;
      const before = (step > 4 ? "… " : "") + plain(words.slice(Math.max(0, step - 4), -1));
      return make("tr", { class: winner ? "mm-chosen" : fate === "dropped" ? "mm-faint" : "" },
        make("td", { class: "mm-text" }, before + " ", make("b", {}, shown(words[step]))),
        make("td", {}, write(logProb)), make("td", {}, write(logProb / (step + 1))),
        make("td", {}, winner ? "best" : FATES[fate]));
    }));
  }

  // Columns are steps, rows are ranks. Dropped candidates stand only in the last column; what died out since is grey.
  function tree(steps, last) {
    const lives = alive(steps, last), top = best(steps, last), way = new Set();
    if (top) for (let [s, at] = [top.step, top.place]; s >= 0; at = steps[s][at][0], s--) way.add(`${s} ${at}`);
    const svg = make("svg", { role: "img" });
    const edges = make("g", { fill: "none" }), nodes = make("g", {}), place = [];
    let x = 6, tall = 0;
    steps.slice(0, last + 1).forEach((row, step) => {
      const wide = 18 + 7.6 * Math.max(...row.map(([, text]) => shown(text).length));
      place.push(row.map((_, i) => ({ x, right: x + wide, y: 18 + 30 * i })));
      row.forEach(([parent, text, , fate], i) => {
        if (fate === "dropped" && step < last) return;
        const { y } = place[step][i], strong = lives[step][i], won = way.has(`${step} ${i}`);
        const colour = won ? "orange" : fate === "ended" ? "teal" : "blue";
        const line = { stroke: strong ? `var(--${colour})` : "#c3c8d0", "stroke-width": won ? 3 : 1.5 };
        if (fate === "greedy") line["stroke-dasharray"] = "4 3";
        if (step) {
          const from = place[step - 1][parent], d = `C${x - 10} ${from.y} ${x - 16} ${y} ${x} ${y}`;
          edges.append(make("path", { d: `M${from.right} ${from.y}${d}`, ...line }));
        }
        if (fate === "dropped") line.stroke = "none";
        nodes.append(make("rect", { x, y: y - 12, width: wide, height: 24, rx: 5, fill: "var(--paper)", ...line }),
          make("text", { x: x + wide / 2, y: y + 4.5, "text-anchor": "middle",
            style: strong ? "" : "fill: var(--grey)" }, shown(text)));
        tall = Math.max(tall, y + 18);
      });
      x += wide + 30;
    });
    set(svg, { viewBox: `0 0 ${x - 24} ${tall}`, "aria-label": `The beams after step ${last + 1}, best first`,
      style: `max-width: none; width: ${x - 24}px; height: ${tall}px; margin: 4px` });
    svg.append(edges, nodes);
    return svg;
  }
}

export { alive, best, look, sentence };
export default { render };
