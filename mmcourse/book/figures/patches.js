// A picture under a grid of patches. One of them is chosen: large, with its number, and its position among the others.

// Cosine of one row with every row.
function cosines(rows, chosen) {
  const long = rows.map((row) => Math.sqrt(dot(row, row)) || 1);
  return rows.map((row, i) => dot(row, rows[chosen]) / long[i] / long[chosen]);
}

// What a patch side means for a square picture: columns, tokens, pairs that attention compares, numbers in a patch.
function cost(side, size) {
  const columns = side / size, tokens = columns ** 2;
  return { columns, tokens, pairs: tokens ** 2, values: 3 * size ** 2 };
}

const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

function render({ model, el }) {
  const [picture, side, sizes, positions] = ["picture", "side", "sizes", "positions"].map((name) => model.get(name));
  const card = newCard(el, "A picture cut into patches");
  const fit = sizes.find((size) => cost(side, size).tokens === positions.length); // the positions belong to this size
  let size = fit || sizes[Math.floor(sizes.length / 2)], chosen = 0, of = cost(side, size);

  const image = () => make("image", { href: picture, width: side, height: side });
  const lines = ["#6b7280", "var(--paper)"].map((stroke) => make("path", { stroke, fill: "none", ...EVEN }));
  const frame = make("rect", FRAME);
  const scene = board(`0 0 ${side} ${side}`, "Patch", image(), ...lines, frame);
  const large = make("svg", { role: "img", style: "max-width: 150px; border: 1px solid #9ca3af" }, image());
  const facts = make("div", {});
  const map = board("0 0 1 1", "Patch in the map of cosines");
  const legend = make("p", { class: "mm-note" });
  const choice = newChoice("Side of a patch in pixels", sizes.map(String), sizes.indexOf(size), (i) => {
    const [x, y] = [(chosen % of.columns + 0.5) / of.columns, (Math.floor(chosen / of.columns) + 0.5) / of.columns];
    [size, of] = [sizes[i], cost(side, sizes[i])];
    chosen = Math.floor(y * of.columns) * of.columns + Math.floor(x * of.columns); // the patch at the same place
    draw();
  });
  const sizing = make("div", { class: "mm-wide mm-row" }, "Side of a patch:", choice.box, "pixels");
  const details = make("div", { class: fit ? "mm-wide mm-row" : "" }, make("div", { class: "mm-row" }, large), facts);
  if (sizes.length > 1) card.body.append(sizing);
  card.body.append(make("div", {}, scene), ...(fit ? [make("div", {}, map, legend)] : []), details);
  draw();

  // A square that is divided as the picture is. A click, a mouse above it, and the arrow keys choose a patch.
  function board(viewBox, name, ...children) {
    const looks = { role: "slider", "aria-label": name, style: "max-width: 340px; cursor: crosshair" };
    const svg = make("svg", { viewBox, tabindex: 0, ...looks }, ...children);
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const cell = (part) => clamp(Math.floor(part * of.columns), 0, of.columns - 1);
      choose(cell((event.clientY - box.top) / box.height) * of.columns + cell((event.clientX - box.left) / box.width));
    };
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") point(event); });
    onArrowKeys(svg, (right, up) => {
      const column = clamp(chosen % of.columns + right, 0, of.columns - 1);
      choose(clamp(Math.floor(chosen / of.columns) - up, 0, of.columns - 1) * of.columns + column);
    });
    return svg;
  }

  function choose(patch) {
    if (patch !== chosen) { chosen = patch; draw(); }
  }

  function draw() {
    const row = Math.floor(chosen / of.columns), column = chosen % of.columns;
    const d = range(of.columns).slice(1).map((i) => `M${i * size} 0V${side}M0 ${i * size}H${side}`).join("");
    lines.forEach((path, i) => set(path, { d, "stroke-width": (i ? 1 : 2.5) * (of.columns > 20 ? 0.4 : 1) }));
    set(frame, { x: column * size, y: row * size, width: size, height: size });
    const corner = `${column * size} ${row * size}`;
    set(large, { viewBox: `${corner} ${size} ${size}`, "aria-label": `Patch ${chosen}, enlarged` });
    const place = `patch ${chosen}, in row ${row} and column ${column}, counted from 0`;
    for (const svg of [scene, map]) {
      const value = { "aria-valuemin": 0, "aria-valuemax": of.tokens - 1, "aria-valuenow": chosen };
      set(svg, { ...value, "aria-valuetext": place });
    }
    const rows = [["patches, so tokens", "N", of.tokens], ["pairs that attention compares", "N²", of.pairs],
      ["numbers in a patch", "3P²", of.values]];
    facts.replaceChildren(make("table", {}, ...rows.map(([words, letters, n]) => make("tr", {},
      make("td", { class: "mm-text" }, words), make("td", {}, letters),
      make("td", {}, make("b", {}, n.toLocaleString("en")))))));
    card.say(`This is ${place}: ${size} × ${size} pixels of 3 colours, ${count(of.values, "number")}. ` +
      `The picture becomes ${count(of.tokens, "token")}, and attention compares ${count(of.pairs, "pair")}. ` +
      (fit ? drawMap() : ""));
  }

  // The cosines of the chosen position; gives them in words.
  function drawMap() {
    legend.textContent = size === fit
      ? `Cosine of the position of patch ${chosen} with every other: red alike, white 0, blue opposed.`
      : `The positions were learned for patches of ${fit} pixels. Choose that size to compare them.`;
    map.style.display = size === fit ? "" : "none";
    if (size !== fit) return legend.textContent;
    const values = cosines(positions, chosen), others = range(of.tokens).filter((i) => i !== chosen);
    set(map, { viewBox: `0 0 ${of.columns} ${of.columns}` });
    map.replaceChildren(...values.map((cosine, i) => {
      const at = { x: i % of.columns, y: Math.floor(i / of.columns), width: 1, height: 1, fill: tint(cosine) };
      return make("rect", { ...at, stroke: "#d1d5db", "stroke-width": 0.02 },
        make("title", {}, `patch ${i}: ${write(cosine)}`));
    }), make("rect", { ...FRAME, x: chosen % of.columns, y: Math.floor(chosen / of.columns), width: 1, height: 1 }));
    if (!others.length) return "It is the only patch, and has no other to be compared with.";
    others.sort((a, b) => values[b] - values[a]);
    const [near, far] = [others[0], others[others.length - 1]];
    return `Its position is most like that of patch ${near} (cosine ${write(values[near])}) ` +
      `and least like that of patch ${far} (${write(values[far])}).`;
  }
}

export { cosines, cost };
export default { render };
