// The next word's distribution under a temperature, top-k and top-p, and words drawn from it.

// The probabilities of all words, largest first. k and p cut as in mmcourse.decoding.truncate: k, then the fewest that
// hold p of what is left.
function cut(logits, temperature, k, p) {
  const kept = softmax(logits.map((z, i) => (i < k ? z / temperature : -Infinity)));
  let before = 0;
  const few = kept.map((q) => { const stays = before < p; before += q; return stays ? q : 0; });
  const sum = few.reduce((a, b) => a + b, 0);
  return few.map((q) => q / sum);
}

// In bits. Two to this power is the number of equally likely words that would be as uncertain.
const entropy = (probs) => probs.reduce((total, q) => total - (q > 0 ? q * Math.log2(q) : 0), 0);

// A word for a random number in [0, 1).
function pick(probs, random) {
  let i = 0;
  for (let left = random - probs[0]; left >= 0 && i < probs.length - 1; left -= probs[i]) i++;
  return probs[i] > 0 ? i : probs.findLastIndex((q) => q > 0);
}

const shownWord = (word) => (word === "<end>" ? "■ (end)" : word);
const percent = (q) => (q > 0 && q < 0.001 ? "<\u00a00.1\u00a0%" : `${write(100 * q, 1)}\u00a0%`);

function render({ model, el }) {
  const moments = model.get("moments"), V = moments[0].logits.length;
  const card = newCard(el, "Sampling the next word");
  const KS = [...range(20).map((i) => i + 1), V]; // the last one keeps all
  let moment = moments[0], temperature = 1, k = V, p = 1, drawn = [];

  const texts = moments.map(({ text }) => `“${text} …”`);
  const choice = newChoice("The text so far", texts, 0, (i) => { moment = moments[i]; change(); });
  const sliders = [
    newSlider("Temperature", { min: 0.1, max: 2, step: 0.05, value: 1, words: (x) => write(x) },
      (x) => { temperature = x; change(); }),
    newSlider("Top-k", { min: 0, max: 20, value: 20, words: (i) => (i === 20 ? "all" : String(KS[i])) },
      (i) => { k = KS[i]; change(); }),
    newSlider("Top-p", { min: 0.05, max: 1, step: 0.05, value: 1, words: (x) => write(x) }, (x) => { p = x; change(); }),
  ];
  const table = make("table", { class: "mm-drawn" }), note = make("p", { class: "mm-note", style: "margin-top: 8px" });
  const draw = newButton("Draw 20 words", () => {
    const probs = cut(moment.logits, temperature, k, p);
    drawn = [...drawn, ...range(20).map(() => pick(probs, Math.random()))];
    show();
  });
  card.body.append(make("div", { class: "mm-wide mm-row" }, choice.box),
    make("div", {}, ...sliders.map(({ box }) => box), draw, note), make("div", { style: "flex-grow: 2" }, table));
  show();

  function change() { drawn = []; show(); }

  function bar(q, own, top) {
    const line = (width, colour, high) =>
      make("div", { style: `width: ${100 * width / top}%; height: ${high}px; background: var(--${colour})` });
    return make("div", {}, line(q, "blue", 9), line(own, "grey", 3));
  }

  function show() {
    const own = cut(moment.logits, 1, V, 1), probs = cut(moment.logits, temperature, k, p), N = moment.words.length;
    const times = (test) => (drawn.length ? String(drawn.filter(test).length) : "");
    const rest = (list) => list.slice(N).reduce((a, b) => a + b, 0);
    const rows = [...moment.words.map((word, i) => [shownWord(word), probs[i], own[i], times((x) => x === i)]),
      ...(V > N ? [[`${V - N} others`, rest(probs), rest(own), times((x) => x >= N)]] : [])];
    const titles = ["word", "", "now", "own", "drawn"].map((title) => make("th", {}, title));
    const top = Math.max(...rows.flatMap(([, q, before]) => [q, before]));
    table.replaceChildren(make("tr", {}, ...titles), ...rows.map(([word, q, before, count]) =>
      make("tr", { class: q > 0 ? "" : "mm-faint" },
        make("td", { style: "text-align: left; white-space: nowrap" }, word),
        make("td", { class: "mm-bars", "aria-hidden": "true" }, bar(q, before, top)), make("td", {}, q > 0 ? percent(q) : "cut"),
        make("td", {}, percent(before)), make("td", {}, count))));
    const kept = probs.filter((q) => q > 0).length, are = kept === 1 ? "is" : "are";
    const held = own.slice(0, kept).reduce((a, b) => a + b, 0);
    note.textContent = "Thick: the probability now. Thin: the model's own." +
      (drawn.length ? ` ${drawn.length} words drawn, ${new Set(drawn).size} of them different.` : "");
    card.say(`After “${moment.text}”: ${kept} of ${V} words ${are} left, which held ${percent(held)} of the model's ` +
      `probability. The choice is as uncertain as one among ${write(2 ** entropy(probs), 1)} equally likely words.`);
  }
}

export { cut, entropy, pick };
export default { render };
