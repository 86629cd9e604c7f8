// A kernel slides over a grey picture. The reader moves the window and sees its products, their sum, and all the sums.

// The sums of the products of a kernel (k, k) with every window of a picture (h, w), as PyTorch's conv2d gives them.
function convolve(picture, kernel) {
  const rows = range(picture.length - kernel.length + 1), columns = range(picture[0].length - kernel.length + 1);
  const sumAt = (row, column) => productsAt(picture, kernel, row, column).flat().reduce((a, b) => a + b);
  return rows.map((row) => columns.map((column) => sumAt(row, column)));
}

const productsAt = (picture, kernel, row, column) =>
  kernel.map((line, i) => line.map((weight, j) => weight * picture[row + i][column + j]));

const grey = (light) => `rgb(${Array(3).fill(Math.round(255 * light)).join(", ")})`;

function render({ model, el }) {
  const [picture, kernels] = ["picture", "kernels"].map((name) => model.get(name));
  const card = newCard(el, "A kernel that slides over a picture");
  const state = { kernel: 0, row: Math.floor(picture.length / 3), column: Math.floor(picture[0].length / 3) };
  const choice = newChoice("Kernel", kernels.map(([name]) => name), 0, (i) => { state.kernel = i; draw(); });
  const scene = make("svg", { tabindex: 0, role: "slider", "aria-label": "Window", style: "cursor: crosshair" });
  const output = make("svg", { role: "img" });
  const products = make("table", { class: "mm-products" }), sum = make("p", { class: "mm-sum" });
  const titled = (title, ...parts) => make("div", {}, make("p", { class: "mm-title" }, title), ...parts);
  card.body.append(
    make("div", { class: "mm-wide mm-row" }, "Kernel:", choice.box),
    make("div", { class: "mm-wide mm-pair" }, titled("Picture", scene), titled("Output", output)),
    make("div", { class: "mm-wide" }, make("p", { class: "mm-title" }, "Kernel · pixel"), products, sum),
    make("p", { class: "mm-note mm-wide" },
      "Point at the picture, or reach it with the tab key and press the arrow keys (with shift: farther). " +
      "In the output, red is positive and blue negative."));

  // Draws cells of side 1 and a frame of side k around those that count.
  function board(svg, cells, colour, k) {
    const square = (x, y, side, looks) => make("rect", { x, y, width: side, height: side, ...looks });
    set(svg, { viewBox: `0 0 ${cells[0].length} ${cells.length}`, "shape-rendering": "crispEdges" });
    svg.replaceChildren(
      ...cells.flatMap((line, y) => line.map((cell, x) => square(x, y, 1, { fill: colour(cell) }))),
      square(state.column, state.row, k, FRAME));
  }

  function draw() {
    const kernel = kernels[state.kernel][1], sums = convolve(picture, kernel), k = kernel.length, all = sums.flat();
    move(0, 0);
    const { row, column } = state, largest = Math.max(...all), reach = Math.max(...all.map(Math.abs)) || 1;
    board(scene, picture, grey, k);
    board(output, sums, (value) => tint(value / reach), 1);
    products.replaceChildren(...productsAt(picture, kernel, row, column).map((line, i) => make("tr", {},
      ...line.map((product, j) => make("td", { style: `background: ${tint(clamp(product / 2, -0.5, 0.5))}` },
        `${+kernel[i][j].toFixed(2)} · ${write(picture[row + i][column + j], 1)}`)))));
    sum.textContent = `Sum: ${write(sums[row][column])}`;
    const place = `row ${row} and column ${column}`, first = all.indexOf(largest);
    set(scene, { "aria-valuemin": 0, "aria-valuemax": all.length - 1, "aria-valuenow": row * sums[0].length + column,
                 "aria-valuetext": `${place}, sum ${write(sums[row][column])}` });
    set(output, { "aria-label": `${sums.length} × ${sums[0].length} sums` });
    card.say(`The window begins in ${place}, counted from 0. Its sum is ${write(sums[row][column])}; the largest ` +
      `of all ${all.length} is ${write(largest)}, in row ${Math.floor(first / sums[0].length)} ` +
      `and column ${first % sums[0].length}.`);
  }

  function move(down, right) { // and stay inside
    const k = kernels[state.kernel][1].length;
    state.row = clamp(state.row + down, 0, picture.length - k);
    state.column = clamp(state.column + right, 0, picture[0].length - k);
  }

  const point = (event) => {
    const box = scene.getBoundingClientRect(), half = (kernels[state.kernel][1].length - 1) / 2;
    const cell = (part, count) => Math.floor(part * count - half);
    state.row = cell((event.clientY - box.top) / box.height, picture.length);
    state.column = cell((event.clientX - box.left) / box.width, picture[0].length);
    draw();
  };
  scene.addEventListener("pointerdown", point);
  scene.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") point(event); });
  onArrowKeys(scene, (right, up) => { move(-up, right); draw(); });
  draw();
}

export { convolve };
export default { render };
