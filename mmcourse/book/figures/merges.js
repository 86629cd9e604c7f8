// A text that the reader types, cut into bytes and joined again by the merges of a tokenizer, rule by rule.

const PIECES = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

// All that happens to a text: [{ rule, rows }], where rows has the ids of each piece of the text. The first entry has no
// rule. bytes[id] is the byte of each of the first 256 ids; merges[i] is the pair of ids that becomes id 256 + i.
function history(text, bytes, merges) {
  const idOf = new Map(bytes.map((byte, id) => [byte, id]));
  const ruleOf = new Map(merges.map((pair, i) => [pair.join(), 256 + i]));
  let rows = (text.match(PIECES) || []).map((piece) => [...new TextEncoder().encode(piece)].map((byte) => idOf.get(byte)));
  const all = [{ rule: null, rows }];
  for (;;) {
    const known = rows.flatMap((row) => row.slice(1).map((id, i) => ruleOf.get([row[i], id].join()) ?? Infinity));
    const rule = known.reduce((a, b) => Math.min(a, b), Infinity);
    if (rule === Infinity) return all;
    rows = rows.map((row) => join(row, merges[rule - 256], rule));
    all.push({ rule, rows });
  }
}

// The ids of a row with the pair replaced, from left to right.
function join(row, [left, right], id) {
  const joined = [];
  for (let i = 0; i < row.length; i++) {
    const here = row[i] === left && row[i + 1] === right;
    joined.push(here ? id : row[i]);
    if (here) i++;
  }
  return joined;
}

// The bytes of an id.
function bytesOf(id, bytes, merges) {
  if (id < 256) return [bytes[id]];
  return merges[id - 256].flatMap((part) => bytesOf(part, bytes, merges));
}

// How a token is shown: its text, spaces made visible; bytes that are no whole character in hexadecimal.
function shown(id, bytes, merges) {
  const own = bytesOf(id, bytes, merges);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(own));
    return text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/[\u0000-\u001f\u007f-\u009f]/g, "·");
  } catch {
    return own.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
  }
}

function render({ model, el }) {
  const [bytes, merges, examples] = ["bytes", "merges", "examples"].map((name) => model.get(name));
  const card = newCard(el, "Byte pair encoding, merge by merge");
  const field = make("input", { type: "text", maxlength: 120, "aria-label": "Text", value: examples[0],
    style: "width: 100%; font: inherit; padding: 4px 8px; min-height: 32px; border: 1px solid #9ca3af; border-radius: 6px; " +
      "color: var(--ink); background: var(--paper)" });
  field.value = examples[0];
  field.addEventListener("input", () => begin());
  const choice = newChoice("Examples", examples, 0, (i) => { field.value = examples[i]; begin(); });
  const range = make("input", { type: "range", min: 0, max: 1, step: 1, value: 0, "aria-label": "Merges done" });
  range.addEventListener("input", () => show(+range.value));
  const count = make("b");
  const slider = make("label", { class: "mm-slider" }, make("span", {}, "Merges done: ", count), range);
  const go = (by) => { range.value = +range.value + by; show(+range.value); };
  const buttons = make("div", { class: "mm-row" }, newButton("One back", () => go(-1)), newButton("Next merge", () => go(1)));
  const board = make("div", { style: "display: flex; flex-wrap: wrap; gap: 6px 12px; min-height: 5rem; align-content: flex-start" });
  const note = make("p", { class: "mm-note mm-wide" },
    "Frames are pieces: no merge joins two of them. A token in orange was made by the last merge. " +
    "␣ is a space; two letters or digits such as E7 are a byte that is no character alone.");
  card.body.append(make("div", { class: "mm-wide" }, field), make("div", { class: "mm-wide mm-row" }, choice.box),
    make("div", { class: "mm-wide" }, slider, buttons), make("div", { class: "mm-wide mm-scroll" }, board), note);
  let steps = [];
  begin();

  function begin() {
    steps = history(field.value, bytes, merges);
    set(range, { max: steps.length - 1 });
    range.value = Math.min(3, steps.length - 1);
    show(+range.value);
  }

  function token(id, rule) {
    const fresh = id === rule;
    return make("span", { title: `id ${id}`, style: "display: inline-block; padding: 1px 5px; margin: 1px; border-radius: 4px; " +
      "white-space: pre; font-family: ui-monospace, Chinese, monospace; font-size: 14px; " +
      (fresh ? "border: 2px solid var(--orange); font-weight: 700" : "border: 1px solid #9ca3af; background: #f6f8fb") }, shown(id, bytes, merges));
  }

  function show(number) {
    const { rule, rows } = steps[number], last = steps.length - 1;
    board.replaceChildren(...rows.map((row) => make("span", { style: "padding: 2px; border: 1px dashed #9ca3af; border-radius: 6px" },
      ...row.map((id) => token(id, rule)))));
    count.textContent = `${number} of ${last}`;
    set(range, { "aria-valuetext": count.textContent });
    const tokens = rows.flat().length, letters = [...field.value].length, start = steps[0].rows.flat().length;
    const pair = rule === null ? "No merge yet: every token is a byte."
      : `Merge number ${rule - 255} joins ${merges[rule - 256].map((id) => `“${shown(id, bytes, merges)}”`).join(" and ")}.`;
    card.say(`${pair} ${letters} characters, ${start} bytes, ${tokens} token${tokens === 1 ? "" : "s"}` +
      (number === last ? "; no rule is left that applies." : "."));
  }
}

export { history, shown };
export default { render };
