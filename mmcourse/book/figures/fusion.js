// Who has heard whom: what each token of a fusion has taken in after some layers.

const KINDS = ["late", "cross-attention", "bottleneck", "early"];

// Which tokens a token looks at in one layer: words first, then bottleneck tokens, then cells. It always keeps itself.
function sees({ kind, words, cells, bottlenecks }) {
  const middle = kind === "bottleneck" ? bottlenecks : 0, size = words + middle + cells;
  const part = (i) => (i < words ? "word" : i < words + middle ? "middle" : "cell");
  const looks = {
    late: (a, b) => a === b,
    "cross-attention": (a, b) => a === "word" && b === "cell",
    bottleneck: (a, b) => a === b || a === "middle" || b === "middle",
    early: () => true,
  }[kind];
  return range(size).map((i) => range(size).map((j) => i === j || looks(part(i), part(j))));
}

// What each token has heard of after some layers: a table (tokens, tokens) of booleans.
function heard({ layers, ...setting }) {
  const step = sees(setting), size = step.length;
  let table = range(size).map((i) => range(size).map((j) => i === j));
  for (let layer = 0; layer < layers; layer++)
    table = step.map((row) => range(size).map((j) => row.some((looks, k) => looks && table[k][j])));
  return table;
}

// How many scores one layer computes, for one head: each token that asks, with each that it is compared with.
function scores({ kind, words: T, cells: N, bottlenecks: K }) {
  return { late: T * T + N * N, "cross-attention": T * N, bottleneck: (T + K) ** 2 + (N + K) ** 2, early: (T + N) ** 2 }[kind];
}

function inWords(setting) {
  const { words, cells, layers } = setting, table = heard(setting), middle = table.length - words - cells;
  const count = (row, from, length) => table[row].slice(from, from + length).filter(Boolean).length;
  const first = `${count(0, 0, words)} of ${words} words and ${count(0, words + middle, cells)} of ${cells} cells`;
  const last = `${count(words + middle, 0, words)} of ${words} words`;
  const when = layers === 0 ? "Before the first layer" : layers === 1 ? "After 1 layer" : `After ${layers} layers`;
  return `${when} the first word has heard of ${first}, the first cell of ${last}. One layer computes ${scores(setting)} scores.`;
}

function names({ kind, words, cells, bottlenecks }) {
  const list = (name, count) => range(count).map((i) => `${name} ${i + 1}`);
  return [...list("word", words), ...list("bottleneck", kind === "bottleneck" ? bottlenecks : 0), ...list("cell", cells)];
}

// The table as a drawing: a row for each token, a column for each that it may have heard of.
function drawTable(setting) {
  const size = 20, left = 96, top = 74, all = names(setting), table = heard(setting);
  const [width, height] = [left + all.length * size + 30, top + all.length * size + 4];
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, style: `width: ${width}px; max-width: 100%`, "aria-hidden": "true" });
  const kind = (name) => name.split(" ")[0];
  all.forEach((name, i) => {
    svg.append(make("text", { x: left - 6, y: top + (i + 0.5) * size, dy: "0.35em", "text-anchor": "end" }, name));
    svg.append(make("text", { transform: `translate(${left + (i + 0.6) * size} ${top - 6}) rotate(-45)` }, name));
    all.forEach((other, j) => {
      const across = kind(name) !== kind(other), colour = across ? "var(--orange)" : "var(--blue)";
      svg.append(make("rect", { x: left + j * size, y: top + i * size, width: size, height: size, stroke: "#d1d5db",
                                style: `fill: ${table[i][j] ? colour : "white"}` }));
      if (table[i][j] && across) svg.append(
        make("circle", { cx: left + (j + 0.5) * size, cy: top + (i + 0.5) * size, r: 4, fill: "white" }));
    });
  });
  return svg;
}

function render({ model, el }) {
  const state = { layers: model.get("layers"), kind: model.get("kind") };
  for (const name of ["words", "cells", "bottlenecks"]) state[name] = model.get(name);
  const card = newCard(el, "Which token has heard of which");
  model.on("change", () => render({ model, el }));
  const place = make("div", { class: "mm-wide mm-scroll" });
  const choice = newChoice("fusion", KINDS, KINDS.indexOf(state.kind), (i) => { state.kind = KINDS[i]; draw(); });
  const slider = (name, trait, min, max) =>
    newSlider(name, { min, max, value: state[trait] }, (n) => { state[trait] = n; draw(); });
  const layers = slider("layers", "layers", 0, 4), middle = slider("bottleneck tokens", "bottlenecks", 1, 4);
  card.body.append(make("div", { class: "mm-wide" }, choice.box, layers.box, middle.box), place,
    make("p", { class: "mm-note mm-wide" },
      "A row is a token. Filled: what it has heard of. With a white dot: something of another kind."));

  function draw() {
    place.replaceChildren(drawTable(state));
    middle.box.hidden = state.kind !== "bottleneck";
    card.say(inWords(state));
  }
  draw();
}

export { sees, heard, scores };
export default { render };
