// A sound that plays: its wave, the power of each frequency in one frame, and its log-mel spectrum.

const RATE = 16000, WINDOW = 400, HOP = 160; // as in mmcourse.audio

// The power of each frequency in a frame of W samples times the Hann window: W / 2 + 1 numbers.
function power(frame) {
  const W = frame.length;
  const seen = frame.map((x, n) => x * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / W)));
  return range(W / 2 + 1).map((k) => {
    let real = 0, imaginary = 0;
    seen.forEach((x, n) => {
      const angle = (2 * Math.PI * ((k * n) % W)) / W;
      real += x * Math.cos(angle);
      imaginary -= x * Math.sin(angle);
    });
    return real * real + imaginary * imaginary;
  });
}

// The samples of frame t, which is centred on sample t times the hop; zeros outside of the sound.
const frameOf = (samples, t) => range(WINDOW).map((n) => samples[t * HOP + n - WINDOW / 2] ?? 0);

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const samplesOf = (text) => Array.from(new Int16Array(bytes(text).buffer), (x) => x / 32768);

// A WAV file of 16 bits, as an address that a page may play without a server.
function wavOf(text) {
  const data = bytes(text), head = new DataView(new ArrayBuffer(44));
  const write4 = (at, letters) => [...letters].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  write4(0, "RIFF"); head.setUint32(4, 36 + data.length, true); write4(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, RATE, true); head.setUint32(28, 2 * RATE, true);
  head.setUint16(32, 2, true); head.setUint16(34, 16, true); write4(36, "data"); head.setUint32(40, data.length, true);
  return URL.createObjectURL(new Blob([head.buffer, data], { type: "audio/wav" }));
}

function render({ model, el }) {
  const sounds = model.get("sounds").map((sound) => ({ ...sound, samples: samplesOf(sound.audio) }));
  const card = newCard(el, "A sound, its wave and its spectra");
  let sound = sounds[0], t = 0, audio = null;

  const wave = make("svg", { viewBox: "0 0 600 110", role: "img", "aria-label": "The wave" });
  const line = make("svg", { viewBox: "0 0 600 150", role: "img", "aria-label": "The power of each frequency" });
  const mel = make("canvas", { style: "display: block; width: 100%; height: 150px; image-rendering: pixelated",
    role: "img", "aria-label": "The log-mel spectrum: dark is loud, high frequencies are at the top" });
  const place = make("div", { style: "position: absolute; top: 0; bottom: 0; width: 2px; background: var(--orange)" });
  const picture = make("div", { style: "position: relative" }, mel, place);

  const choice = newChoice("The sound", sounds.map(({ label }) => label), 0, (i) => { sound = sounds[i]; t = 0; begin(); });
  const box = make("div");
  const play = newButton("Play", () => {
    if (audio) audio.pause();
    audio = new Audio(wavOf(sound.audio));
    audio.addEventListener("timeupdate", () => {
      t = clamp(Math.round((audio.currentTime * RATE) / HOP), 0, sound.frames - 1);
      slider.set(t);
      show();
    });
    audio.play().catch(() => card.say("This browser cannot play the sound."));
  });
  let slider = null;
  card.body.append(make("div", { class: "mm-wide" }, box), make("div", { class: "mm-wide mm-row" }, choice.box, play),
    make("div", { class: "mm-wide" }, make("p", { class: "mm-title" }, "Wave"), wave),
    make("div", { class: "mm-wide" }, make("p", { class: "mm-title" }, "Power of each frequency in the frame, 0 to 8,000 Hz"), line),
    make("div", { class: "mm-wide" }, make("p", { class: "mm-title" }, "Log-mel spectrum of all frames"), picture));
  begin();

  function begin() {
    slider = newSlider("Frame", { min: 0, max: sound.frames - 1, value: t,
      words: (i) => `${i}, at ${write((i * HOP) / RATE, 2)} s` }, (i) => { t = i; show(); });
    box.replaceChildren(slider.box);
    const step = sound.samples.length / 600;
    const tops = range(600).map((i) => {
      const part = sound.samples.slice(Math.floor(i * step), Math.floor((i + 1) * step) + 1);
      return `M${i} ${55 - 100 * Math.max(...part)}V${55 - 100 * Math.min(...part) + 0.5}`;
    });
    wave.replaceChildren(make("path", { d: tops.join(""), stroke: "var(--blue)", fill: "none" }),
      make("rect", { x: 0, y: 0, width: 1, height: 110, fill: "var(--orange)", opacity: 0.45 }));
    const cells = bytes(sound.mel), M = sound.mels, T = sound.frames, context = mel.getContext("2d");
    set(mel, { width: T, height: M });
    range(T).forEach((i) => range(M).forEach((m) => {
      context.fillStyle = shade(cells[i * M + m] / 255);
      context.fillRect(i, M - 1 - m, 1, 1);
    }));
    show();
  }

  function show() {
    const length = sound.samples.length, found = power(frameOf(sound.samples, t));
    set(wave.lastChild, { x: (600 * (t * HOP - WINDOW / 2)) / length, width: (600 * WINDOW) / length });
    const high = found.map((p) => clamp((10 * Math.log10(p + 1e-10) + 60) / 100, 0, 1));
    const K = found.length - 1;
    line.replaceChildren(make("path", { d: `M0 150L${high.map((h, k) => `${(600 * k) / K} ${150 - 145 * h}`).join("L")}L600 150Z`,
      fill: "var(--blue)", opacity: 0.6 }));
    place.style.left = `${(100 * (t + 0.5)) / sound.frames}%`;
    const loudest = found.indexOf(Math.max(...found)), total = found.reduce((a, b) => a + b, 0);
    card.say(total < 1e-4 ? `Frame ${t} is silent.` :
      `Frame ${t}, at ${write((t * HOP) / RATE, 2)} s: loudest at ${Math.round((loudest * RATE) / WINDOW)} Hz. ` +
      `${Math.round((100 * found.slice(0, 26).reduce((a, b) => a + b, 0)) / total)}\u00a0% of the power is at or below 1,000 Hz.`);
  }
}

export { frameOf, power };
export default { render };
