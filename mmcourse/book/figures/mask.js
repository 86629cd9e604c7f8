// The same scores under a causal mask, a padding mask, both or none: what may be seen, and the weights that follow.

// How many sources each target sees. Both masks leave the first ones: padding hides the end, causality the future.
// Target t may see source s when s <= t + (S - T), so that the last target sees everything.
function seen({ scores, causal, padding }) {
  const [T, S] = [scores.length, scores[0].length];
  return range(T).map((t) => Math.max(0, Math.min(S - padding, causal ? t + S - T + 1 : S)));
}

// The weights after the softmax. A row that may look nowhere gets zeros.
function maskedWeights({ scores, causal, padding }) {
  const count = seen({ scores, causal, padding });
  return scores.map((row, t) => softmax(row.map((score, s) => (s < count[t] ? score : -Infinity))));
}

function inWords(t, count, weights, { targets, sources }) {
  const who = `Word ${t + 1} (“${targets[t]}”)`, top = Math.max(...weights), best = weights.indexOf(top);
  if (count === 0) return `${who} may look nowhere: all its weights are zero, and so is its output.`;
  if (count === 1) return `${who} sees word 1 only, so the weight of “${sources[0]}” is 1.`;
  const most = `The largest weight is ${write(top)}, on word ${best + 1} (“${sources[best]}”).`;
  return `${who} sees words 1 to ${count}. ${most}`;
}

const short = (name) => (name.length > 8 ? name.slice(0, 7) + "…" : name);

// A table of T x S cells as a drawing. paint(t, s) gives { fill, ink, text, struck } of a cell.
function newGrid(name, targets, sources) {
  const size = sources.length <= 8 ? 44 : sources.length <= 16 ? 30 : sources.length <= 40 ? 16 : 7;
  const [left, top] = [62, 62], [width, height] = [left + sources.length * size + 14, top + targets.length * size + 4];
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, style: `width: ${width}px` });
  if (width <= 310) svg.style.maxWidth = "100%"; // a wider one scrolls in its box, so that it stays legible
  const named = (i) => size >= 16 || (i + 1) % 10 === 0; // many words: every tenth, as a number
  const word = (names, i) => (size >= 16 ? short(names[i]) : String(i + 1));
  const heads = sources.map((_, s) =>
    make("text", { transform: `translate(${left + (s + 0.6) * size} ${top - 6}) rotate(-45)` }));
  const line = { stroke: "#d1d5db", "stroke-width": size > 10 ? 1 : 0.3 };
  const cells = targets.map((_, t) => sources.map((_, s) => {
    const [x, y] = [left + s * size, top + t * size];
    const rect = make("rect", { x, y, width: size, height: size, ...line });
    const text = make("text", { x: x + size / 2, y: y + size / 2, dy: "0.35em", "text-anchor": "middle" });
    svg.append(rect, ...(size >= 44 ? [text] : []));
    return { rect, text };
  }));
  targets.forEach((_, t) => named(t) && svg.append(
    make("text", { x: left - 6, y: top + (t + 0.5) * size, dy: "0.35em", "text-anchor": "end" }, word(targets, t))));
  const frame = make("rect", { x: left, width: sources.length * size, height: size, class: "mm-frame" });
  svg.append(...heads, frame);
  const box = make("div", { class: "mm-scroll" }, svg);

  function draw(paint, row, padding) {
    cells.forEach((cellsOfRow, t) => cellsOfRow.forEach(({ rect, text }, s) => {
      const { fill, ink, words, struck } = paint(t, s);
      rect.style.fill = fill;
      if (size < 44) return;
      text.textContent = words;
      set(text, { style: `fill: ${ink}; ${struck ? "text-decoration: line-through" : ""}` });
    }));
    heads.forEach((head, s) => {
      head.textContent = !named(s) ? "" : s >= sources.length - padding ? "pad" : word(sources, s);
    });
    const y = top + row * size, scale = svg.clientWidth / width || 1;
    set(frame, { y });
    box.scrollTop = clamp(box.scrollTop, (y + size) * scale - box.clientHeight, y * scale - top);
  }
  const rowAt = (event) => {
    const y = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).y;
    return clamp(Math.floor((y - top) / size), 0, targets.length - 1);
  };
  return { svg, box, draw, rowAt, part: make("div", {}, make("p", { class: "mm-title" }, name), box) };
}

function render({ model, el }) {
  const [scores, targets, sources] = ["scores", "targets", "sources"].map((name) => model.get(name));
  const state = { causal: model.get("causal"), padding: model.get("padding"), row: targets.length - 1 };
  const flat = scores.flat(), low = Math.min(...flat), spread = Math.max(...flat) - low || 1;
  const card = newCard(el, "Masks: what each word may see");
  model.on("change", () => render({ model, el }));

  const causal = newSwitch("causal mask: nobody sees the words that come later", state.causal,
    (on) => { state.causal = on; draw(); });
  const hides = (n) => (n === 0 ? "nothing" : `the last ${n} of ${sources.length}`);
  const padding = newSlider("padding mask hides",
    { min: 0, max: sources.length, value: state.padding, words: hides }, (n) => { state.padding = n; draw(); });
  const before = newGrid("Scores (grey: hidden)", targets, sources);
  const after = newGrid("Weights after the softmax", targets, sources);
  set(before.svg, { tabindex: 0, role: "slider", "aria-label": "row of the grid", "aria-orientation": "vertical",
                    "aria-valuemin": 1, "aria-valuemax": targets.length });
  set(after.svg, { "aria-hidden": "true" });
  card.body.append(
    make("div", { class: "mm-wide" }, causal.box, padding.box), before.part, after.part,
    make("p", { class: "mm-note mm-wide" },
      "Point at a row, or reach the scores with the tab key and press up or down."));

  function draw() {
    const count = seen({ scores, ...state }), weights = maskedWeights({ scores, ...state });
    const tint = (z) => `color-mix(in srgb, var(--teal) ${Math.round((45 * (z - low)) / spread)}%, white)`;
    before.draw((t, s) => (s < count[t]
      ? { fill: tint(scores[t][s]), ink: "var(--ink)", words: write(scores[t][s]) }
      : { fill: "#e5e7eb", ink: "#4b5563", words: write(scores[t][s]), struck: true }), state.row, state.padding);
    after.draw((t, s) => {
      const weight = weights[t][s];
      return { fill: shade(weight), ink: inkOn(weight), words: s < count[t] ? write(weight) : "0" };
    }, state.row, state.padding);
    const sentence = inWords(state.row, count[state.row], weights[state.row], { targets, sources });
    set(before.svg, { "aria-valuenow": state.row + 1, "aria-valuetext": sentence });
    const blind = count.filter((n) => n === 0).length;
    card.say(sentence + (blind > 1 ? ` ${blind} of the ${targets.length} rows may look nowhere.` : ""));
  }

  const choose = (row) => { if (row !== state.row) { state.row = row; draw(); } };
  for (const grid of [before, after]) {
    const point = (event) => choose(grid.rowAt(event));
    set(grid.svg, { onpointermove: point, onpointerdown: point });
  }
  onArrowKeys(before.svg, (right, up) => choose(clamp(state.row - up, 0, targets.length - 1)));
  draw();
}

export { seen, maskedWeights };
export default { render };
