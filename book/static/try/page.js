// The page book/try.md: pictures to choose, bring, photograph or draw, and what the captioner says of them.
addEventListener("DOMContentLoaded", () => {
  const root = document.getElementById("try-captioner");
  const lacking = Captioner.missing();
  if (lacking) {
    root.append(make("p", { class: "try-say", role: "status" }, lacking));
    return;
  }
  const { scenes, megabytes } = globalThis.courseScenes;
  const SIDE = 256; // pixels, of the drawing
  const HISTORY = 100; // drawings to go back to
  const SIZES = { small: 74, medium: 102, big: 138 }; // pixels of a stamp: as things in scenes, four times as large
  let asked = 0, queue = Promise.resolve(); // the number of the last picture, and what is still at work

  // ---- elements

  function make(tag, attributes = {}, ...children) {
    const drawn = ["svg", "image", "rect", "g"].includes(tag);
    const element = document.createElementNS(drawn ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const button = (label, onclick, attributes = {}) =>
    make("button", { type: "button", class: "try-button", onclick, ...attributes }, label);

  // One of several buttons. Arrow keys go through them, Home and End to the first and the last; `role` is radio, or tab.
  function choice(name, labels, onChoose, role = "radio") {
    const box = make("div", { class: "try-choice", role: role === "tab" ? "tablist" : "radiogroup", "aria-label": name });
    const state = role === "tab" ? "aria-selected" : "aria-checked";
    const buttons = [];
    let chosen = -1;
    function mark(now) {
      chosen = now;
      buttons.forEach((one, i) => {
        one.setAttribute(state, i === now);
        one.tabIndex = i === Math.max(now, 0) ? 0 : -1;
      });
    }
    function choose(now) {
      mark(now);
      onChoose(now);
    }
    function add(label) {
      const place = buttons.length;
      buttons.push(button(label, () => choose(place), { role }));
      box.append(buttons[place]);
      mark(chosen);
      return buttons[place];
    }
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
      if (!step || !buttons.length) return;
      event.preventDefault();
      choose(Math.min(buttons.length - 1, Math.max(0, chosen + step)));
      buttons[chosen].focus();
    });
    labels.forEach(add);
    return { box, buttons, add, mark, choose };
  }

  // ---- what the captioner says: the picture under a veil, the words as buttons, two sentences

  const saying = make("p", { class: "try-say", role: "status" },
    `Choose a picture, and the page loads the captioner: ${megabytes} MB, once. Your pictures stay with you.`);
  const looking = make("p", { class: "try-look", "aria-live": "polite" });
  const facts = make("p", { class: "try-note" });
  const veil = make("g");
  const peak = make("rect", { class: "try-peak", width: 0, height: 0 });
  const shown = make("image", { width: 64, height: 64 });
  const picture = make("svg", { viewBox: "0 0 64 64", role: "img", "aria-label": "No picture yet" }, shown, veil, peak);
  const sentence = make("div", { class: "try-sentence" });
  let looks = [], words = choice("Words of the sentence", [], showLook);

  // Where a word looked: the less weight a cell has, the more it fades; the largest has a frame. While words come,
  // nothing is told of it: whoever hears the page would hear that before the sentence.
  function showLook(place, aloud = true) {
    const look = looks[place], side = Math.sqrt(look.length), cell = 64 / side;
    const top = Math.max(...look), best = look.indexOf(top);
    const at = (n) => ({ x: n % side * cell, y: Math.floor(n / side) * cell, width: cell, height: cell });
    veil.replaceChildren(...Array.from(look, (weight, n) =>
      make("rect", { ...at(n), class: "try-veil", "fill-opacity": (0.9 * (1 - weight / top)).toFixed(3) })));
    for (const [name, value] of Object.entries(at(best))) peak.setAttribute(name, value);
    const word = words.buttons[place].textContent;
    const name = word === "■" ? "To end the sentence" : `For “${word}”`;
    picture.setAttribute("aria-label", `${name}: where the captioner looked in the picture`);
    if (aloud) looking.textContent = `${name} it looked most at row ${Math.floor(best / side) + 1}, column ${best % side + 1} of ` +
      `${side} × ${side}: ${Math.round(100 * top)}\u00a0% of its attention.`;
  }

  function addWord(word, look) {
    looks.push(look);
    const place = looks.length - 1;
    const one = words.add(word ?? "■");
    if (word === null) one.setAttribute("aria-label", "the end of the sentence");
    one.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") words.choose(place); });
    words.mark(place);
    showLook(place, false);
  }

  // Bytes (S, S, 3) as a picture that the page can show.
  function address(pixels) {
    const side = Math.sqrt(pixels.length / 3), canvas = make("canvas", { width: side, height: side });
    const data = new ImageData(side, side);
    for (let at = 0; at < side * side; at++) data.data.set([...pixels.subarray(at * 3, at * 3 + 3), 255], at * 4);
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas.toDataURL();
  }

  // Say what is on a picture: `get` gives what Captioner.fit takes. Of several in a row, the last one counts. `truth` is
  // for one of the scenes.
  function describe(get, truth = "") {
    const number = ++asked;
    clearTimeout(pending); // a drawing that waits has been overtaken
    if (!truth) sceneChoice.mark(-1);
    queue = queue.then(() => (number === asked ? run(number, get, truth) : null)).catch((error) => {
      if (number !== asked) return;
      clear();
      saying.textContent = told(error);
    });
  }

  function told(error) {
    if (error instanceof Captioner.Advice) return error.message;
    return `This did not work; your browser says: “${error.message}”. Reload the page, or try another browser.`;
  }

  async function run(number, get, truth) {
    const about = await ready();
    const source = await get();
    if (number !== asked) return;
    const began = performance.now(), pixels = Captioner.fit(source), notes = source.notes ?? [];
    clear();
    shown.setAttribute("href", address(pixels));
    picture.setAttribute("aria-label", "What the captioner sees of the picture");
    saying.textContent = "Looking …";
    const found = await Captioner.caption(pixels, (word, look) => {
      if (number !== asked) return false;
      addWord(word, look);
      return true;
    });
    if (number !== asked) return;
    const seconds = (performance.now() - began) / 1000;
    const low = found.confidence < about.low_confidence;
    const doubt = low ? " That is low: it may well be wrong." : "";
    saying.textContent = `“${found.words.join(" ")}”. It gives ${(100 * found.confidence).toFixed(0)}\u00a0% that every ` +
      `noun is right.${doubt}`;
    const size = source.width === 64 && source.height === 64 ? [] :
      [`The picture has ${source.width} × ${source.height} pixels; above is what the captioner sees of it, 64 × 64.`];
    const known = truth ? [`Someone who knows the scene says: “${truth}”.`] :
      ["That number was measured on scenes of the course; for another picture it is a hint at most."];
    facts.textContent = [...known, ...size, ...notes, `Seen and said in ${seconds.toFixed(2)} seconds.`].join(" ");
    words.choose(sharpest(found.words));
  }

  // The noun for which it looked most closely; without a noun, the first word.
  function sharpest(written) {
    const peaks = written.map((word, i) => (Captioner.nounsOf([word]).length ? Math.max(...looks[i]) : 0));
    return Math.max(0, peaks.indexOf(Math.max(...peaks)));
  }

  function clear() {
    looks = [];
    words = choice("Words of the sentence", [], showLook);
    sentence.replaceChildren(words.box);
    shown.removeAttribute("href");
    veil.replaceChildren();
    peak.setAttribute("width", 0);
    picture.setAttribute("aria-label", "No picture yet");
    looking.textContent = "";
    facts.textContent = "";
  }

  async function ready() {
    saying.textContent = "The captioner comes …";
    return Captioner.load();
  }

  // ---- a scene

  const fromImage = (image) => ({ image, width: image.naturalWidth, height: image.naturalHeight });
  const pictures = scenes.map(({ picture: href, truth }) => make("img", { src: href, alt: truth, width: 64, height: 64 }));
  const sceneChoice = choice("Scenes", pictures, (i) =>
    describe(async () => fromImage(pictures[i]), scenes[i].truth));
  sceneChoice.box.classList.add("try-scenes");
  const scenePanel = [make("p", { class: "try-note" }, "Twelve scenes that its training never showed."), sceneChoice.box];

  // ---- a file: opened, dropped anywhere on the card, or pasted

  const chooser = make("input", { type: "file", accept: "image/*", class: "try-file", id: "try-file",
    onclick: () => { chooser.value = ""; }, // so that the same file can be opened again
    onchange: () => bring(chooser.files) });
  const filePanel = [
    make("label", { class: "try-drop", for: "try-file" }, "Open a picture: ", chooser),
    make("p", { class: "try-note" }, "Or drop one anywhere on this card, or paste one. The captioner learnt " +
      "from drawings; of a photograph it says what drawing it takes it for."),
  ];

  function bring(files) {
    if (!files.length) return;
    const [file] = files;
    describe(async () => {
      const source = await Captioner.open(file);
      if (files.length > 1) source.notes.push(`Of ${files.length} files it took the first.`);
      return source;
    });
  }

  // ---- a photograph

  const CAMERA = {
    NotAllowedError: "The browser does not let this page use the camera. Allow it (beside the address of the page), or open a file.",
    NotFoundError: "There is no camera here. Connect one, or open a file.",
    NotReadableError: "The camera is busy. Close what else uses it, or open a file.",
  };
  const video = make("video", { playsinline: "", muted: "", hidden: "", "aria-label": "What the camera sees" });
  const startButton = button("Start the camera", startCamera);
  const takeButton = button("Take the picture", takePicture, { hidden: "" });
  const stopButton = button("Stop the camera", stopCamera, { hidden: "" });
  const cameraSays = make("p", { class: "try-note", role: "status" },
    "The picture stays in this page. A drawing, a toy or a screen before the camera is more like what it knows than a room.");
  const photographPanel = [make("div", { class: "try-row" }, startButton, takeButton, stopButton), video, cameraSays];

  let wishes = 0; // how often the reader wished the camera on or off: the last one counts

  async function startCamera() {
    const wish = ++wishes;
    try {
      if (!navigator.mediaDevices?.getUserMedia) throw new Error();
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (wish !== wishes) { // the reader went on before the browser allowed it
        stopTracks(stream);
        return;
      }
      video.srcObject = stream;
      video.muted = true;
      await video.play();
      if (wish !== wishes) return;
      cameraOn(true);
      cameraSays.textContent = "Take the picture when it is in view: its whole width counts.";
      takeButton.focus();
    } catch (error) {
      if (wish !== wishes) return;
      stopCamera();
      cameraSays.textContent = CAMERA[error.name] ?? "This page may not use a camera here: browsers allow it for pages " +
        "whose address begins with https, some also for a folder on your computer. Open a file instead.";
    }
  }

  function cameraOn(on) {
    [video.hidden, takeButton.hidden, stopButton.hidden, startButton.hidden] = [!on, !on, !on, on];
  }

  function stopTracks(stream) {
    stream.getTracks().forEach((track) => track.stop());
  }

  function stopCamera() {
    wishes++;
    if (video.srcObject) stopTracks(video.srcObject);
    video.srcObject = null;
    cameraOn(false);
  }

  function takePicture() {
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    describe(async () => ({ image: canvas, width: canvas.width, height: canvas.height }));
  }

  addEventListener("pagehide", stopCamera);

  // ---- a drawing: stamps of the course's drawings, or a brush

  const paper = make("canvas", { width: SIDE, height: SIDE, class: "try-paper", tabindex: 0, role: "application",
    "aria-label": "Drawing: arrow keys move the cross, space or Enter puts a stamp or a dot there",
    "aria-describedby": "try-drawing-says" });
  const cross = make("div", { class: "try-cross", hidden: "" });
  const drawingSays = make("p", { class: "try-note", id: "try-drawing-says", role: "status" });
  const drawingPanel = [drawingSays];
  drawingSays.textContent = "The drawings come …";
  let opening, art, pen, sheet, backgrounds, stamp = 0, mark = "stamp", size = "medium", colour = "", thickness = 14;
  let drawn = { background: 0, strokes: [] }; // what lies on the paper: each stroke is a function that draws it again
  const place = { x: SIDE / 2, y: SIDE / 2 }, past = [];
  let pending = 0;

  // The drawings, once they are asked for.
  async function openDrawing() {
    try {
      await (opening ??= loadDrawings());
    } catch (error) {
      opening = null;
      drawingSays.textContent = told(error);
    }
  }

  async function loadDrawings() {
    await Captioner.loadScript("pictures.js");
    art = globalThis.coursePictures;
    sheet = await decoded(art.sheet);
    for (const background of art.backgrounds) background.image = await decoded(background.picture);
    pen = paper.getContext("2d", { willReadFrequently: true });
    [pen.lineCap, pen.lineJoin] = ["round", "round"];
    panels[3].replaceChildren(...drawingControls());
    redraw();
  }

  async function decoded(href) {
    const image = make("img", { src: href, alt: "" });
    await image.decode();
    return image;
  }

  function drawingControls() {
    const kinds = [...new Set(art.nouns.map((noun) => noun.category))];
    const stamps = make("select", { onchange: () => { stamp = +stamps.value; pick("stamp"); } }, ...kinds.map((kind) =>
      make("optgroup", { label: kind }, ...art.nouns.map((noun, i) => [noun, i])
        .filter(([noun]) => noun.category === kind)
        .map(([noun, i]) => make("option", { value: i }, noun.name)))));
    const names = Object.keys(SIZES);
    const sizes = make("select", { onchange: () => { size = sizes.value; pick("stamp"); } },
      ...names.map((name) => make("option", { value: name }, name)));
    sizes.value = size;
    backgrounds = make("select", { onchange: () => change({ ...drawn, background: +backgrounds.value }) },
      ...art.backgrounds.map((one, i) => make("option", { value: i }, one.name)));
    const colours = { black: "rgb(20, 20, 20)", white: "rgb(255, 255, 255)", ...art.colours };
    const brushes = make("select", { onchange: () => { colour = colours[brushes.value]; pick("brush"); } },
      ...Object.keys(colours).map((name) => make("option", { value: name }, name)));
    brushes.value = "red";
    colour = colours.red;
    const widths = make("input", { type: "range", min: 4, max: 60, value: thickness,
      oninput: () => { thickness = +widths.value; pick("brush"); } });
    const marks = choice("Draw with", ["Stamp", "Brush"], (i) => pick(["stamp", "brush"][i]));
    function pick(kind) {
      mark = kind;
      marks.mark(kind === "stamp" ? 0 : 1);
      stampRow.hidden = kind !== "stamp";
      brushRow.hidden = kind !== "brush";
      drawingSays.textContent = kind === "stamp"
        ? `A tap puts a ${size} ${art.nouns[stamp].name} there. With keys: the arrows move the cross, the space bar puts it.`
        : `Draw with a ${brushes.value} brush. With keys: the arrows move the cross, the space bar makes a dot.`;
    }
    const label = (text, control) => {
      control.id = `try-${text.toLowerCase()}`;
      return make("span", {}, make("label", { for: control.id }, text), " ", control);
    };
    const stampRow = make("div", { class: "try-row" }, label("Stamp", stamps), label("Size", sizes));
    const brushRow = make("div", { class: "try-row" }, label("Colour", brushes), label("Width", widths));
    pick("stamp");
    return [
      make("div", { class: "try-row" }, label("Where", backgrounds), marks.box), stampRow, brushRow,
      make("div", { class: "try-easel" }, paper, cross),
      make("div", { class: "try-row" }, button("Undo", undo), button("Begin again", () => change({ ...drawn, strokes: [] }))),
      drawingSays,
    ];
  }

  // Another drawing in place of this one, which Undo brings back.
  function change(next) {
    remember();
    drawn = next;
    redraw();
    describeDrawing();
  }

  function remember() {
    past.push(drawn);
    if (past.length > HISTORY) past.shift();
  }

  function redraw() {
    pen.drawImage(art.backgrounds[drawn.background].image, 0, 0, SIDE, SIDE);
    drawn.strokes.forEach((stroke) => stroke());
  }

  function undo() {
    if (!past.length) {
      drawingSays.textContent = "There is nothing to undo.";
      return;
    }
    drawn = past.pop();
    backgrounds.value = drawn.background;
    redraw();
    describeDrawing();
  }

  // Draw, and keep how: the background can change under it.
  function add(stroke) {
    stroke();
    drawn = { ...drawn, strokes: [...drawn.strokes, stroke] };
  }

  function putStamp({ x, y }) {
    const columns = sheet.naturalWidth / 64, { place: cell } = art.nouns[stamp], side = SIZES[size];
    add(() => {
      pen.imageSmoothingQuality = "high";
      pen.drawImage(sheet, cell % columns * 64, Math.floor(cell / columns) * 64, 64, 64, x - side / 2, y - side / 2, side, side);
    });
  }

  function brush(from, to) {
    const look = [colour, thickness];
    add(() => {
      [pen.strokeStyle, pen.lineWidth] = look;
      pen.beginPath();
      pen.moveTo(from.x, from.y);
      pen.lineTo(to.x + 0.01, to.y); // a dot has a length, too
      pen.stroke();
    });
  }

  // What is drawn, in words; of empty paper nothing is said.
  function describeDrawing() {
    clearTimeout(pending);
    if (!drawn.strokes.length) {
      ++asked; // what is still at work has been overtaken
      sceneChoice.mark(-1);
      clear();
      saying.textContent = "The paper is empty. Put something there, and the captioner says what it sees.";
      return;
    }
    pending = setTimeout(() => describe(async () => ({ image: paper, width: SIDE, height: SIDE })), 200);
  }

  function where(event) {
    const box = paper.getBoundingClientRect(), scale = SIDE / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  paper.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return; // a second finger, or another button
    event.preventDefault();
    paper.setPointerCapture(event.pointerId);
    remember();
    let last = where(event);
    if (mark === "stamp") putStamp(last);
    else brush(last, last);
    const move = (moved) => {
      if (mark === "stamp" || !moved.isPrimary) return;
      const next = where(moved);
      brush(last, next);
      last = next;
    };
    paper.addEventListener("pointermove", move);
    const stop = () => {
      paper.removeEventListener("pointermove", move);
      describeDrawing();
    };
    paper.addEventListener("pointerup", stop, { once: true });
    paper.addEventListener("pointercancel", stop, { once: true });
  });

  paper.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [8, 0], ArrowLeft: [-8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] };
    if (steps[event.key]) {
      place.x = Math.min(SIDE, Math.max(0, place.x + steps[event.key][0]));
      place.y = Math.min(SIDE, Math.max(0, place.y + steps[event.key][1]));
      showCross();
    } else if (event.key === " " || event.key === "Enter") {
      remember();
      if (mark === "stamp") putStamp(place);
      else brush({ ...place }, { ...place }); // as it is now: the cross goes on
      describeDrawing();
    } else {
      return;
    }
    event.preventDefault();
  });
  paper.addEventListener("focus", () => { if (paper.matches(":focus-visible")) showCross(); });
  paper.addEventListener("blur", () => { cross.hidden = true; });

  function showCross() {
    cross.hidden = false;
    cross.style.left = `${100 * place.x / SIDE}%`;
    cross.style.top = `${100 * place.y / SIDE}%`;
  }

  // ---- the card

  const NAMES = ["A scene", "A file", "A photograph", "A drawing"];
  const panels = [scenePanel, filePanel, photographPanel, drawingPanel].map((parts, i) =>
    make("div", { role: "tabpanel", id: `try-panel-${i}`, "aria-labelledby": `try-tab-${i}`, hidden: "" }, ...parts));
  const tabs = choice("What to look at", NAMES, showPanel, "tab");
  tabs.buttons.forEach((tab, i) => {
    tab.id = `try-tab-${i}`;
    tab.setAttribute("aria-controls", `try-panel-${i}`);
  });

  function showPanel(now) {
    panels.forEach((panel, i) => { panel.hidden = i !== now; });
    if (now !== 2) stopCamera();
    if (now === 3) openDrawing();
  }

  const card = make("div", { class: "try-card", role: "group", "aria-label": "The captioner" }, tabs.box,
    make("div", { class: "try-columns" },
      make("div", { class: "try-input" }, ...panels),
      make("div", { class: "try-output" }, make("div", { class: "try-frame" }, picture), sentence, looking, facts)),
    saying);
  root.append(card);
  document.body.classList.add("try-runs"); // the still picture makes way
  tabs.mark(0);
  showPanel(0);

  const dropped = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  card.addEventListener("dragover", (event) => {
    if (!dropped(event)) return;
    event.preventDefault();
    card.classList.add("try-over");
  });
  card.addEventListener("dragleave", () => card.classList.remove("try-over"));
  card.addEventListener("drop", (event) => {
    card.classList.remove("try-over");
    if (!dropped(event)) return;
    event.preventDefault();
    bring(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) bring(files);
  });
});
