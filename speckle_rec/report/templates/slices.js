// Three linked slices through the volume, all at one scale.
const volume = { ready: false, cross: null };
(async () => {
  if (!scene.volume) return;
  const { size, origin, spacing } = scene.volume;
  const panes = [["slice-z", 2, 0, 1, 1], ["slice-x", 0, 2, 1, 1], ["slice-y", 1, 0, 2, -1]].map(
    ([id, cut, across, down, sign]) => ({ canvas: $(id), cut, across, down, sign }));
  try {
    volume.estimated = await unzipped("volume-estimated");
    volume.tracked = $("volume-tracked") ? await unzipped("volume-tracked") : null;
  } catch (problem) {
    $("grey").textContent = "This browser cannot unpack the volume (it lacks DecompressionStream).";
    return;
  }
  const extent = size.map((n, a) => n * spacing[a]), low = origin.map((o, a) => o - spacing[a] / 2);
  // Opens where most has been seen: half of what is seen lies to each side.
  const start = [0, 1, 2].map(a => {
    const sums = new Float64Array(size[a]), [nx, ny, nz] = size, data = volume.estimated;
    const skip = Math.max(1, Math.floor(data.length / 400000));
    for (let n = 0; n < data.length; n += skip) if (data[n]) sums[a === 0 ? n % nx : a === 1 ? Math.floor(n / nx) % ny : Math.floor(n / nx / ny)]++;
    const half = sums.reduce((s, v) => s + v, 0) / 2;
    let k = 0, sum = 0;
    while (k < size[a] - 1 && (sum += sums[k]) < half) k++;
    return origin[a] + k * spacing[a];
  });
  const view = { cross: [...start], zoom: 1, low: scene.volume.window[0], high: scene.volume.window[1], mode: "estimated", mix: 0.5 };
  volume.cross = view.cross; volume.ready = true; volume.view = view;
  const sense = a => a === 2 && state.mirrored ? -1 : 1;
  const index = (a, mm) => Math.max(0, Math.min(size[a] - 1, Math.round((mm - origin[a]) / spacing[a])));
  const names = ["x", "y", "z"];

  // What the tracked volume shows where voxel n is drawn: mirrored, that is on the other side of z = 0.
  const layer = size[0] * size[1];
  const { below, tracked_layers: layers } = scene.volume;
  const trackedAt = n => {
    if (!state.mirrored) return volume.tracked[n + below * layer];
    const k = Math.floor(n / layer), other = Math.round(-2 * origin[2] / spacing[2] - k) + below;
    return other >= 0 && other < layers ? volume.tracked[n + (other - k) * layer] : 0;
  };
  const value = (n, m) => {
    const a = volume.estimated[n];
    if (m === "estimated") return a;
    const b = trackedAt(n);
    return m === "tracked" ? b : a * (1 - view.mix) + b * view.mix;
  };
  const sheet = document.createElement("canvas"), pen = sheet.getContext("2d");
  const cutOut = pane => {
    const [nx, ny] = size, step = [1, nx, nx * ny], na = size[pane.across], nd = size[pane.down];
    const base = index(pane.cut, view.cross[pane.cut]) * step[pane.cut];
    const image = pen.createImageData(na, nd), out = image.data, range = Math.max(1, view.high - view.low);
    for (let d = 0, at = 0; d < nd; d++) {
      let n = base + d * step[pane.down];
      for (let a = 0; a < na; a++, n += step[pane.across], at += 4) {
        let r, green, b;
        if (view.mode === "difference") {
          const e = volume.estimated[n], t = trackedAt(n);
          if (!e && !t) r = green = b = 0;
          else if (!e || !t) { r = green = b = 40; }
          else {          // orange: the estimate is brighter; blue: the tracked volume is
            const part = Math.max(-1, Math.min(1, (e - t) * 2 / range)), size = Math.abs(part), to = part > 0 ? [255, 150, 40] : [70, 150, 255];
            [r, green, b] = to.map(c => 70 + size * (c - 70));
          }
        } else r = green = b = 255 * (value(n, view.mode) - view.low) / range;
        out[at] = r; out[at + 1] = green; out[at + 2] = b; out[at + 3] = 255;
      }
    }
    sheet.width = na; sheet.height = nd;
    pen.putImageData(image, 0, 0);
    return sheet;
  };

  let scale = 1;
  const layout = () => {
    const room = $("slices").clientWidth, [X, Y, Z] = extent, thin = Math.max(Z, 0.3 * X), gap = 16;
    const row = room >= 640;
    scale = row ? Math.min((room - 2 * gap) / (2 * X + thin), 460 / Math.max(Y, thin)) : Math.min(room / Math.max(X, thin), 380 / Math.max(Y, thin));
    for (const pane of panes) {
      const wide = pane.across === 2 ? thin : X, tall = pane.down === 2 ? thin : Y;
      pane.canvas.style.width = `${Math.floor(wide * scale)}px`;
      pane.canvas.style.height = `${Math.floor(tall * scale)}px`;
    }
  };
  // Screen px of a place in a pane, and back. Mirrored, z runs the other way.
  const frame = (pane, w, h) => {
    const k = scale * view.zoom, signs = [sense(pane.across), pane.sign * sense(pane.down)];
    const middle = [pane.across, pane.down].map(a => {
      const m = low[a] + extent[a] / 2;
      return m + (view.cross[a] - m) * (1 - 1 / view.zoom);
    });
    return { k, signs, middle, to: p => [w / 2 + signs[0] * k * (p[pane.across] - middle[0]), h / 2 + signs[1] * k * (p[pane.down] - middle[1])],
      from: (x, y) => [middle[0] + signs[0] * (x - w / 2) / k, middle[1] + signs[1] * (y - h / 2) / k] };
  };
  const drawPane = pane => {
    const [g, w, h] = sized(pane.canvas), f = frame(pane, w, h), image = cutOut(pane);
    g.fillStyle = "#000"; g.fillRect(0, 0, w, h);
    const corner = f.to(Object.assign([0, 0, 0], { [pane.across]: low[pane.across], [pane.down]: low[pane.down] }));
    g.save();
    g.translate(...corner); g.scale(f.signs[0] * f.k * spacing[pane.across], f.signs[1] * f.k * spacing[pane.down]);
    g.imageSmoothingEnabled = true; g.drawImage(image, 0, 0);
    g.restore();
    // Where the current frame's plane cuts this slice; its outline where it lies in it.
    if ($("show-plane").checked && scene.poses[state.i]) {
      const points = scene.corners.map(c => place(state.i, c[0], c[1])), at = view.cross[pane.cut];
      const off = points.map(p => p[pane.cut] - at), cuts = [];
      g.strokeStyle = ink("--lit"); g.lineWidth = 2;
      if (off.every(v => Math.abs(v) < spacing[pane.cut])) {
        g.beginPath(); points.forEach((p, m) => g[m ? "lineTo" : "moveTo"](...f.to(p))); g.closePath(); g.stroke();
      } else {
        points.forEach((p, m) => {
          const n = (m + 1) % points.length, q = points[n];
          if ((off[m] < 0) !== (off[n] < 0)) { const t = off[m] / (off[m] - off[n]); cuts.push(f.to(p.map((v, a) => v + t * (q[a] - v)))); }
        });
        cuts.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        for (let m = 0; m + 1 < cuts.length; m += 2) { g.beginPath(); g.moveTo(...cuts[m]); g.lineTo(...cuts[m + 1]); g.stroke(); }
      }
    }
    const [cx, cy] = f.to(view.cross);
    g.strokeStyle = "rgba(255,255,255,.55)"; g.lineWidth = 1;
    g.beginPath(); g.moveTo(cx, 0); g.lineTo(cx, cy - 8); g.moveTo(cx, cy + 8); g.lineTo(cx, h);
    g.moveTo(0, cy); g.lineTo(cx - 8, cy); g.moveTo(cx + 8, cy); g.lineTo(w, cy); g.stroke();
    scaleBar(g, w, h, f.k, "#fff");
  };
  const draw = () => {
    layout();
    panes.forEach(drawPane);
    names.forEach((name, a) => {
      const input = $(`at-${name}`), shown = sense(a) * view.cross[a];
      input.value = String(index(a, view.cross[a]));
      input.setAttribute("aria-valuetext", `${shown.toFixed(1)} mm`);
      $(`told-${name}`).textContent = `${shown.toFixed(1)} mm`;
    });
    $("darkest").value = String(view.low); $("brightest").value = String(view.high);
    const n = index(0, view.cross[0]) + size[0] * (index(1, view.cross[1]) + size[1] * index(2, view.cross[2]));
    $("grey").textContent = `grey value ${volume.estimated[n]}${volume.tracked ? ` (tracked ${trackedAt(n)})` : ""} · zoom ${view.zoom.toFixed(1)}`;
  };
  let waiting = false;
  const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); changed("cross"); }); } };
  const go = (a, mm) => { view.cross[a] = Math.max(origin[a], Math.min(origin[a] + (size[a] - 1) * spacing[a], mm)); };
  const zoom = f => { view.zoom = Math.min(20, Math.max(1, view.zoom * f)); soon(); };
  const set = (dark, bright) => {
    view.low = Math.max(0, Math.min(254, dark)); view.high = Math.max(view.low + 1, Math.min(255, bright)); soon();
  };

  for (const pane of panes) {
    const fingers = new Map(), canvas = pane.canvas;
    const point = e => { const box = canvas.getBoundingClientRect(); return [e.clientX - box.left, e.clientY - box.top]; };
    const aim = e => {
      const f = frame({ ...pane }, canvas.clientWidth, canvas.clientHeight), [x, y] = f.from(...point(e));
      go(pane.across, x); go(pane.down, y); soon();
    };
    canvas.addEventListener("contextmenu", e => e.preventDefault());
    canvas.addEventListener("pointerdown", e => {
      canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, [e.clientX, e.clientY]);
      if (fingers.size === 1 && e.button === 0 && !e.shiftKey && view.zoom === 1) aim(e);
    });
    canvas.addEventListener("pointermove", e => {
      const before = fingers.get(e.pointerId);
      if (!before) return;
      const now = [e.clientX, e.clientY];
      if (fingers.size > 1) {
        const other = [...fingers].find(([id]) => id !== e.pointerId)[1], apart = Math.hypot(before[0] - other[0], before[1] - other[1]);
        if (apart > 1) zoom(Math.hypot(now[0] - other[0], now[1] - other[1]) / apart);
      } else if (e.shiftKey || e.buttons & 2) {
        const dx = now[0] - before[0], dy = now[1] - before[1], middle = (view.low + view.high) / 2 + dy / 2, half = Math.max(1, (view.high - view.low) / 2 + dx / 2);
        set(Math.round(middle - half), Math.round(middle + half));
      } else if (view.zoom > 1) {      // pulls the picture along
        const f = frame(pane, canvas.clientWidth, canvas.clientHeight), free = 1 / (1 - 1 / view.zoom);
        go(pane.across, view.cross[pane.across] - f.signs[0] * (now[0] - before[0]) / f.k * Math.min(free, 3));
        go(pane.down, view.cross[pane.down] - f.signs[1] * (now[1] - before[1]) / f.k * Math.min(free, 3)); soon();
      } else aim(e);
      fingers.set(e.pointerId, now);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, e => fingers.delete(e.pointerId));
    canvas.addEventListener("wheel", e => {
      e.preventDefault();
      if (e.ctrlKey) zoom(Math.exp(-e.deltaY * 0.005));
      else { go(pane.cut, view.cross[pane.cut] + Math.sign(e.deltaY) * spacing[pane.cut]); soon(); }
    }, { passive: false });
    canvas.addEventListener("keydown", e => {
      const f = [sense(pane.across), pane.sign * sense(pane.down)];
      const step = { ArrowLeft: [pane.across, -f[0]], ArrowRight: [pane.across, f[0]], ArrowUp: [pane.down, -f[1]],
        ArrowDown: [pane.down, f[1]], PageUp: [pane.cut, 1], PageDown: [pane.cut, -1] }[e.key];
      if (step) { e.preventDefault(); go(step[0], view.cross[step[0]] + step[1] * spacing[step[0]]); soon(); }
      if (e.key === "+") zoom(1.25);
      if (e.key === "-") zoom(1 / 1.25);
    });
  }
  names.forEach((name, a) => {
    $(`at-${name}`).max = String(size[a] - 1);
    $(`at-${name}`).addEventListener("input", e => { go(a, origin[a] + Number(e.target.value) * spacing[a]); soon(); });
  });
  $("darkest").addEventListener("input", e => set(Number(e.target.value), Math.max(view.high, Number(e.target.value) + 1)));
  $("brightest").addEventListener("input", e => set(Math.min(view.low, Number(e.target.value) - 1), Number(e.target.value)));
  $("nearer").addEventListener("click", () => zoom(1.5));
  $("farther").addEventListener("click", () => zoom(1 / 1.5));
  $("slices-reset").addEventListener("click", () => {
    Object.assign(view, { zoom: 1, low: scene.volume.window[0], high: scene.volume.window[1] });
    start.forEach((mm, a) => { view.cross[a] = mm; }); soon();
  });
  if ($("mode")) {
    $("mode").addEventListener("change", e => { view.mode = e.target.value; $("mix").disabled = view.mode !== "blend"; soon(); });
    $("mix").addEventListener("input", e => { view.mix = Number(e.target.value) / 100; soon(); });
  }
  $("show-plane").addEventListener("change", soon);
  onChange(what => {
    if (what === "frame" && $("follow").checked) {
      const p = scene.estimated.path[state.i];
      if (p) p.forEach((mm, a) => go(a, mm));
    }
    if (what === "frame" || what === "mirror" || what === "look") soon();
  });
  draw();
  document.documentElement.dataset.slices = "yes";
  changed("volume");
})();
