// Pictures and their texts in one space. One of them is chosen and looks among the others, at a scale that can be dragged.

// The probabilities with which one looks among the others, from its cosines.
const among = (cosines, scale) => softmax(cosines.map((c) => scale * c));

// CLIP's loss of a square table of cosines, as mmcourse.contrastive.clip_loss has it.
function tableLoss(cosines, scale) {
  const columns = cosines.map((_, j) => cosines.map((row) => row[j]));
  const share = (row, i) => -Math.log(among(row, scale)[i]);
  const sum = (table) => table.reduce((total, row, i) => total + share(row, i), 0);
  return (sum(cosines) + sum(columns)) / (2 * cosines.length);
}

function render({ model, el }) {
  const [pictures, texts, cosines, places, first] =
    ["pictures", "texts", "cosines", "places", "scale"].map((name) => model.get(name));
  const n = pictures.length, card = newCard(el, "A space of pictures and texts");
  const start = Math.round(50 * Math.log10(first));
  let scale = 10 ** (start / 50), looks = "picture", chosen = 0;

  const image = (i) => make("img", { src: pictures[i], alt: `picture ${i + 1}` });
  const choice = newChoice("A picture that looks among the texts", range(n).map(image), 0, (i) => choose("picture", i));
  const slider = newSlider("Scale, one over the temperature",
    { min: 0, max: 100, value: start, words: (x) => write(10 ** (x / 50), 1) },
    (x) => { scale = 10 ** (x / 50); show(); });
  const lines = make("g", {}), marks = make("g", {});
  const map = make("svg", { viewBox: "0 0 400 400", role: "img", "aria-label": "Map of the space" }, lines, marks);
  const table = make("table", {});
  const note = make("p", { class: "mm-note" });
  card.body.append(make("div", { class: "mm-wide" }, choice.box), make("div", {}, map, note),
    make("div", { style: "flex-grow: 2" }, slider.box, table));
  const at = (kind, i) => places[kind === "picture" ? i : n + i].map((x) => 24 + 352 * x);
  const point = (kind, i) => ({ style: "cursor: pointer", onclick: () => choose(kind, i),
    onpointerenter: (event) => { if (event.pointerType === "mouse") choose(kind, i); } });
  const frames = range(n).map((i) => {
    const [x, y] = at("picture", i);
    const frame = make("rect", { x: x - 20, y: y - 20, width: 40, height: 40, fill: "none" });
    marks.append(make("g", point("picture", i),
      make("image", { href: pictures[i], x: x - 20, y: y - 20, width: 40, height: 40 }), frame));
    return frame;
  });
  const dots = range(n).map((i) => {
    const [x, y] = at("text", i), circle = make("circle", { cx: x, cy: y, r: 11 });
    marks.append(make("g", point("text", i), circle,
      make("text", { x, y: y + 4.5, "text-anchor": "middle" }, String(i + 1)), make("title", {}, texts[i])));
    return circle;
  });
  show();

  function choose(kind, i) {
    if (kind === looks && i === chosen) return;
    [looks, chosen] = [kind, i];
    if (kind === "picture") choice.choose(i);
    show();
  }

  function show() {
    const other = looks === "picture" ? "text" : "picture";
    const row = looks === "picture" ? cosines[chosen] : cosines.map((c) => c[chosen]);
    const probs = among(row, scale), order = range(n).sort((a, b) => row[b] - row[a]);
    const [x1, y1] = at(looks, chosen);
    lines.replaceChildren(...range(n).map((i) => {
      const [x2, y2] = at(other, i), looksAt = { "stroke-width": 0.5 + 9 * probs[i], opacity: 0.25 + 0.6 * probs[i] };
      return make("line", { x1, y1, x2, y2, stroke: i === chosen ? "var(--teal)" : "var(--orange)", ...looksAt });
    }));
    frames.forEach((frame, i) => set(frame, { stroke: looks === "picture" && i === chosen ? "var(--blue)" : "var(--grey)",
      "stroke-width": looks === "picture" && i === chosen ? 4 : 1 }));
    dots.forEach((circle, i) => set(circle, { fill: "var(--paper)", "stroke-width": looks === "text" && i === chosen ? 4 : 1.5,
      stroke: looks === "text" && i === chosen ? "var(--blue)" : "var(--grey)" }));
    const titles = [other, "cosine", "", "share"].map((title) => make("th", {}, title));
    table.replaceChildren(make("tr", {}, ...titles), ...order.map((i) => {
      const bar = `width: ${100 * probs[i]}%; height: 9px; background: var(--${i === chosen ? "teal" : "orange"})`;
      return make("tr", { class: i === chosen ? "mm-chosen" : "" },
        make("td", { class: "mm-text" }, other === "text" ? `${i + 1}: ${texts[i]}` : `picture ${i + 1}`),
        make("td", {}, write(row[i])), make("td", { class: "mm-bars", "aria-hidden": "true" }, make("div", { style: bar })),
        make("td", {}, `${Math.round(100 * probs[i])}\u00a0%`));
    }));
    note.textContent = "Squares are pictures, circles are texts, flattened to the two directions in which they differ most. " +
      "Point at one: its lines are as thick as its shares.";
    const best = order[0] === chosen ? "finds its own" : `prefers ${other} ${order[0] + 1}`;
    card.say(`${looks === "picture" ? "Picture" : "Text"} ${chosen + 1} ${best}: it gives its own ` +
      `${Math.round(100 * probs[chosen])}\u00a0% among ${n}. Scale ${write(scale, 1)}; CLIP's loss of the whole table is ` +
      `${write(tableLoss(cosines, scale))}.`);
  }
}

export { among, tableLoss };
export default { render };
