// State that all views share: the current frame, and which of the two mirror images is shown.
const $ = id => document.getElementById(id);
const scene = JSON.parse($("scene").textContent);
const last = scene.frame.length - 1;
const state = { i: 0, mirrored: false, cells: false };
const listeners = [];
const onChange = listener => listeners.push(listener);
const changed = what => listeners.forEach(listener => listener(what));
const seek = i => {
  const to = Math.max(0, Math.min(last, Math.round(i)));
  if (to !== state.i) { state.i = to; changed("frame"); }
};
const style = getComputedStyle(document.documentElement);
const ink = name => style.getPropertyValue(name).trim();
const digits = (v, n = 3) => v === null || v === undefined ? "–" : Number(v.toPrecision(n)).toString();
// The other reading lies on the other side of the image plane of frame 0; what the tracker says stays where it is.
const flip = p => p && (state.mirrored ? [p[0], p[1], -p[2]] : p);
// A point (x, y) of the image of frame i, in mm of frame 0.
const place = (i, x, y) => {
  const pose = scene.poses[i];
  return pose && [0, 1, 2].map(m => pose[m] * x + pose[3 + m] * y + pose[6 + m]);
};
const decoded = id => Uint8Array.from(atob($(id).textContent.trim()), c => c.charCodeAt(0));
const unzipped = async id => new Uint8Array(await new Response(
  new Blob([decoded(id)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
const sized = canvas => {
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  }
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, w, h);
  return [g, w, h];
};
// The longest of 1, 2, 5, 10, ... mm that is drawn no longer than `most` px at k px a mm.
const roundLength = (most, k) => {
  const unit = 10 ** Math.floor(Math.log10(Math.max(1e-6, most / k)));
  return unit * (unit * 5 * k < most ? 5 : unit * 2 * k < most ? 2 : 1);
};
const scaleBar = (g, w, h, k, colour) => {
  const bar = roundLength(0.3 * w, k);
  g.strokeStyle = g.fillStyle = colour; g.lineWidth = 2; g.setLineDash([]);
  g.beginPath(); g.moveTo(w - 12 - bar * k, h - 10); g.lineTo(w - 12, h - 10); g.stroke();
  g.font = "12px system-ui, sans-serif"; g.textAlign = "right"; g.fillText(`${bar} mm`, w - 12, h - 15);
  g.textAlign = "left";
};
// Coherence 0..1 to a colour that survives colour-blind eyes and black and white (after cividis).
const STOPS = [[0, 34, 78], [66, 78, 108], [124, 123, 120], [188, 174, 108], [254, 232, 56]];
const coherenceColour = v => {
  const at = Math.max(0, Math.min(0.9999, v)) * (STOPS.length - 1), k = Math.floor(at), part = at - k;
  return `rgb(${STOPS[k].map((c, m) => Math.round(c + part * (STOPS[k + 1][m] - c))).join(",")})`;
};
const redraw = () => changed("look");
window.addEventListener("resize", redraw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
