// The film of frames: pictures are unpacked as they are needed.
const film = (() => {
  if (!scene.film) return null;
  const all = decoded("film"), starts = [0];
  for (const length of scene.film) starts.push(starts[starts.length - 1] + length);
  const kept = new Map(), coming = new Set();
  const KEPT = 80;
  const load = async i => {
    if (coming.has(i) || kept.has(i) || i < 0 || i > last) return;
    coming.add(i);
    let picture = null;
    try {
      picture = await createImageBitmap(new Blob([all.subarray(starts[i], starts[i + 1])], { type: "image/jpeg" }));
    } catch { return; }       // a damaged picture is not shown, and not asked for again
    coming.delete(i);
    kept.set(i, picture);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    if (i === state.i) changed("picture");
  };
  return { at: i => { load(i); for (let k = 1; k < 5; k++) load(i + k); return kept.get(i) || null; } };
})();
const coherence = scene.cells && $("cells") ? decoded("cells") : null;
const framePicture = document.createElement("canvas");

// The picture of the current frame with its cells, as large as the film has it; null until it is there.
const composed = () => {
  const picture = film && film.at(state.i);
  if (!picture) return null;
  framePicture.width = picture.width; framePicture.height = picture.height;
  const g = framePicture.getContext("2d");
  g.drawImage(picture, 0, 0);
  if (state.cells && coherence) {
    const [[x0, y0], [x1, y1]] = scene.sheet_mm, kx = picture.width / (x1 - x0), ky = picture.height / (y1 - y0);
    const n = scene.cells.at.length, half = scene.cells.across / 2;
    g.globalAlpha = 0.5;
    scene.cells.at.forEach(([x, y], m) => {
      const percent = coherence[state.i * n + m];
      if (percent > 100) return;
      g.fillStyle = coherenceColour(percent / 100);
      g.beginPath(); g.ellipse((x - x0) * kx, (y - y0) * ky, half * kx, half * ky, 0, 0, 7); g.fill();
    });
    g.globalAlpha = 1;
  }
  return framePicture;
};

const meanCoherence = i => {
  const n = scene.cells.at.length, seen = [...coherence.subarray(i * n, i * n + n)].filter(v => v <= 100).sort((a, b) => a - b);
  return seen.length ? seen[seen.length >> 1] / 100 : null;
};

const tell = () => {
  const i = state.i, p = flip(scene.estimated.path[i]), parts = [`frame ${scene.frame[i]}`];
  if (scene.time) parts.push(`${scene.time[i].toFixed(2)} s`);
  if (scene.phase) parts.push(scene.phases[scene.phase[i]]);
  if (i > 0) parts.push(`step ${digits(scene.step_mm[i], 2)} mm, ${digits(scene.step_deg[i], 2)}°`);
  if (scene.confidence[i] !== null && i > 0) parts.push(`confidence ${scene.confidence[i].toFixed(2)}`);
  if (coherence && i > 0) parts.push(`coherence ${digits(meanCoherence(i), 2)}`);
  if (p) parts.push(`middle at ${p.map(v => v.toFixed(1)).join(", ")} mm`);
  if (scene.sigma && scene.sigma[i] !== null) parts.push(`± ${scene.sigma[i].toFixed(1)} mm`);
  $("told").textContent = parts.join(" · ");
};

const drawFilm = () => {
  const canvas = $("film-view");
  if (!canvas || !film) return;
  const [[x0, y0], [x1, y1]] = scene.sheet_mm;
  canvas.style.aspectRatio = `${x1 - x0} / ${y1 - y0}`;
  const picture = composed();
  if (!picture) return;
  const [g, w, h] = sized(canvas);
  g.imageSmoothingQuality = "high";
  g.drawImage(picture, 0, 0, w, h);
  scaleBar(g, w, h, w / (x1 - x0), "#fff");
};

// The time line: confidence as a band, steps as a line, and where we are.
const drawTime = () => {
  const canvas = $("time");
  const [g, w, h] = sized(canvas);
  const at = i => last ? i / last * (w - 2) + 1 : 1;
  const usual = scene.step_mm.slice(1).filter(v => v !== null).sort((a, b) => a - b);
  const most = Math.max(1e-6, 1.15 * (usual[Math.floor(0.98 * (usual.length - 1))] || 1));
  g.fillStyle = ink("--band");
  g.beginPath(); g.moveTo(1, h);
  scene.confidence.forEach((c, i) => g.lineTo(at(i), h - h * (i ? c || 0 : 0)));
  g.lineTo(at(last), h); g.closePath(); g.fill();
  g.strokeStyle = ink("--ink"); g.lineWidth = 1.2; g.beginPath();
  scene.step_mm.forEach((v, i) => { if (i) g[i === 1 ? "moveTo" : "lineTo"](at(i), h - 2 - (h - 6) * Math.min(1, (v || 0) / most)); });
  g.stroke();
  g.fillStyle = ink("--soft"); g.font = "11px system-ui, sans-serif";
  g.fillText(`step, to ${digits(most, 2)} mm`, 4, 12);
  g.strokeStyle = ink("--b"); g.lineWidth = 2; g.beginPath(); g.moveTo(at(state.i), 0); g.lineTo(at(state.i), h); g.stroke();
};

const clock = i => scene.time ? `${scene.time[i].toFixed(1)} s` : `frame ${scene.frame[i]}`;
const mark = (track, i, text, told, wide) => {
  const button = document.createElement("button");
  button.type = "button"; button.className = "mark"; button.textContent = text;
  button.title = told; button.setAttribute("aria-label", told);
  button.style.left = `${100 * i / Math.max(1, last)}%`;
  if (wide) { button.style.width = `${100 * wide / Math.max(1, last)}%`; button.classList.add("wide"); }
  button.addEventListener("click", () => seek(i));
  $(track).append(button);
  return button;
};
if (scene.phase) {
  for (let a = 0; a <= last;) {
    let b = a;
    while (b < last && scene.phase[b + 1] === scene.phase[a]) b++;
    const name = scene.phases[scene.phase[a]];
    mark("phases", a, name, `${name}, ${clock(a)} to ${clock(b)}`, Math.max(0.001, Math.min(b + 1, last) - a)).dataset.phase = name;
    a = b + 1;
  }
}
for (const i of scene.reversals) mark("reversals", i, "◆", `turns back at ${clock(i)}`);
{
  const skip = Math.max(1, Math.ceil(scene.loops.length / 24));
  scene.loops.forEach(([i, j], n) => {
    if (n % skip) return;
    const button = mark("revisits", j, "●", `at ${clock(j)} the same place as at ${clock(i)}; click again to go there`);
    button.addEventListener("click", () => {      // the other of the two, where this one is shown already
      if (button.dataset.at === "first") { seek(i); button.dataset.at = ""; } else button.dataset.at = "first";
    });
  });
}
for (const track of ["phases", "reversals", "revisits"]) if (!$(track).children.length) $(track).parentElement.hidden = true;

let playing = null;
const play = on => {
  if (on === (playing !== null)) return;
  $("play").textContent = on ? "❚❚ pause" : "▶ play";
  if (!on) { cancelAnimationFrame(playing); playing = null; return; }
  if (state.i === last) seek(0);
  const times = scene.time || scene.frame.map(n => n / 20), from = times[state.i];
  let began = null;
  const tick = now => {
    if (playing === null) return;
    if (began === null) began = now;
    const t = from + (now - began) / 1000 * Number($("speed").value);
    let i = state.i;
    while (i < last && times[i + 1] <= t) i++;
    seek(i);
    if (i === last) play(false); else playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
};
const slider = $("frame");
slider.max = String(last);
slider.addEventListener("input", () => { play(false); seek(Number(slider.value)); });
$("play").addEventListener("click", () => play(playing === null));
$("back").addEventListener("click", () => { play(false); seek(state.i - 1); });
$("on").addEventListener("click", () => { play(false); seek(state.i + 1); });
$("speed").addEventListener("change", () => { if (playing !== null) { play(false); play(true); } });
$("time").addEventListener("pointerdown", e => {
  const go = event => seek((event.clientX - $("time").getBoundingClientRect().left) / $("time").clientWidth * last);
  play(false); go(e); $("time").setPointerCapture(e.pointerId); $("time").onpointermove = go;
});
for (const name of ["pointerup", "pointercancel"]) $("time").addEventListener(name, () => { $("time").onpointermove = null; });
if ($("show-cells")) $("show-cells").addEventListener("change", e => { state.cells = e.target.checked; changed("picture"); });
document.addEventListener("keydown", e => {
  if (e.altKey || e.ctrlKey || e.metaKey || e.defaultPrevented) return;
  if (e.target.closest("input, select, textarea, summary, canvas[data-keys]")) return;
  if (e.key === " " && !e.target.closest("button")) { e.preventDefault(); play(playing === null); }
  const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
  if (step) { e.preventDefault(); play(false); seek(state.i + step * (e.shiftKey ? 10 : 1)); }
  if (e.key === "Home" && !e.shiftKey && e.target.closest("#frames")) { e.preventDefault(); seek(0); }
  if (e.key === "End" && !e.shiftKey && e.target.closest("#frames")) { e.preventDefault(); seek(last); }
});
onChange(what => {
  if (what === "frame" || what === "mirror") { slider.value = String(state.i); slider.setAttribute("aria-valuetext", clock(state.i)); tell(); }
  if (what !== "mirror") drawFilm();
  if (what !== "picture") drawTime();
});
