// Path and frames in three dimensions, on a plain canvas.
(() => {
  const canvas = $("view"), tube = document.createElement("canvas");
  const layer = () => {
    tube.width = canvas.width; tube.height = canvas.height;
    const t = tube.getContext("2d"), ratio = canvas.width / canvas.clientWidth;
    t.setTransform(ratio, 0, 0, ratio, 0, 0);
    return t;
  };
  const shown = name => { const box = $(`show-${name}`); return box ? box.checked : false; };
  const sets = [scene.estimated, scene.tracked].filter(Boolean);
  const START = { yaw: -0.95, pitch: 0.4 };
  let view = { ...START };
  const axes = () => {
    const cy = Math.cos(view.yaw), sy = Math.sin(view.yaw), cp = Math.cos(view.pitch), sp = Math.sin(view.pitch);
    return p => [cy * p[0] + sy * p[2], cp * p[1] + sp * (cy * p[2] - sy * p[0])];
  };
  const box = points => {
    const to = axes(), low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    for (const p of points) if (p) to(p).forEach((v, i) => { low[i] = Math.min(low[i], v); high[i] = Math.max(high[i], v); });
    return { low, high, size: [0, 1].map(i => Math.max(1e-6, high[i] - low[i])), middle: [0, 1].map(i => (low[i] + high[i]) / 2) };
  };
  // So that the path fills half of the view, but the frames are not drawn more than 2.5 times larger than would fit.
  const fit = (w, h, whole) => {
    const put = (s, points) => s === scene.tracked ? points : points.map(flip);
    const all = box(sets.flatMap(s => put(s, [...s.path, ...s.outlines.flat()]))), path = box(sets.flatMap(s => put(s, s.path)));
    const scale = (b, part) => part * Math.min(w / b.size[0], h / b.size[1]);
    const every = scale(all, 0.9), k = whole ? every : Math.max(every, Math.min(scale(path, 0.55), 2.5 * every));
    const part = Math.min(1, Math.max(0, (k / every - 1) / 1.5));
    view.zoom = k;
    view.middle = [0, 1].map(i => all.middle[i] + part * (path.middle[i] - all.middle[i]));
  };

  function draw() {
    const [g, w, h] = sized(canvas);
    if (!w || !h) return;
    if (!view.zoom) fit(w, h, view.whole);
    const k = view.zoom, to = axes();
    const onScreen = p => { const [x, y] = to(p); return [w / 2 + k * (x - view.middle[0]), h / 2 + k * (y - view.middle[1])]; };
    const project = p => onScreen(flip(p));
    const stroke = (points, close, put = project) => {
      g.beginPath();
      let pen = false;
      for (const p of points) {
        if (!p) { pen = false; continue; }
        const [x, y] = put(p);
        if (pen) g.lineTo(x, y); else g.moveTo(x, y);
        pen = true;
      }
      if (close) g.closePath();
      g.stroke();
    };
    const path = scene.estimated.path;
    const colours = shown("phases") && scene.phase ? scene.phase.map(p => ink("--" + scene.phases[p]) || ink("--a")) : null;
    g.lineJoin = g.lineCap = "round";
    if (shown("outlines")) {
      g.lineWidth = 0.8; g.globalAlpha = 0.3; g.strokeStyle = ink("--ink");
      scene.estimated.outlines.forEach((o, n) => {
        if (colours) g.strokeStyle = colours[scene.outline_at[n]];
        if (o) stroke(o, true);
      });
      if (scene.tracked && shown("tracked")) {
        g.strokeStyle = ink("--b"); g.setLineDash([4, 4]); g.globalAlpha = 0.2;
        for (const o of scene.tracked.outlines) if (o) stroke(o, true, onScreen);
        g.setLineDash([]);
      }
      g.globalAlpha = 1;
    }
    // The picture of the current frame on its plane: a flat view of a plane is affine.
    const i = state.i, pose = scene.poses[i], on = (x, y) => project(place(i, x, y));
    const picture = shown("image") && pose ? composed() : null;
    if (picture) {
      const [[x0, y0], [x1, y1]] = scene.sheet_mm, a = on(x0, y0), b = on(x1, y0), c = on(x0, y1);
      g.save();
      g.beginPath();
      scene.corners.forEach((p, m) => { const q = on(p[0], p[1]); if (m) g.lineTo(...q); else g.moveTo(...q); });
      g.clip();
      g.transform((b[0] - a[0]) / picture.width, (b[1] - a[1]) / picture.width, (c[0] - a[0]) / picture.height,
        (c[1] - a[1]) / picture.height, ...a);
      g.globalAlpha = 0.75;
      g.drawImage(picture, 0, 0);
      g.restore();
    }
    // The tube: one standard deviation to each side, drawn whole and laid over the rest half transparent.
    if (shown("tube") && scene.sigma) {
      const t = layer();
      t.strokeStyle = ink("--tube"); t.lineCap = t.lineJoin = "round";
      for (let n = 1; n <= last; n++) if (path[n] && path[n - 1]) {
        t.lineWidth = Math.max(1, 2 * k * (scene.sigma[n] || 0));
        t.beginPath(); t.moveTo(...project(path[n - 1])); t.lineTo(...project(path[n])); t.stroke();
      }
      g.globalAlpha = 0.55; g.drawImage(tube, 0, 0, w, h); g.globalAlpha = 1;
    }
    if (pose) {
      g.strokeStyle = ink("--b"); g.lineWidth = 2;
      stroke(scene.corners.map(c => place(i, c[0], c[1])), true);
      g.fillStyle = g.strokeStyle; g.lineWidth = 1.5;
      g.beginPath(); scene.probe.forEach((c, m) => g[m ? "lineTo" : "moveTo"](...on(c[0], c[1]))); g.closePath();
      g.globalAlpha = 0.25; g.fill(); g.globalAlpha = 1; g.stroke();
    }
    const line = (points, colour, width, put) => {
      g.setLineDash([]); g.strokeStyle = ink("--paper"); g.lineWidth = width + 3; stroke(points, false, put);
      g.strokeStyle = colour; g.lineWidth = width;
    };
    if (shown("tracked") && scene.tracked) {
      line(scene.tracked.path, ink("--b"), 2.2, onScreen);
      g.setLineDash([7, 5]); stroke(scene.tracked.path, false, onScreen); g.setLineDash([]);
    }
    if (shown("loops")) {
      g.strokeStyle = ink("--soft"); g.lineWidth = 0.6; g.globalAlpha = 0.5;
      for (const [a, b] of scene.loops) stroke([path[a], path[b]]);
      g.globalAlpha = 1;
    }
    if (shown("estimated")) {
      line(path, ink("--a"), 3.5);
      for (let n = 1; n <= last; n++) {
        g.lineWidth = 1 + 2.8 * (scene.confidence[n] || 0);
        if (colours) g.strokeStyle = colours[n];
        stroke([path[n - 1], path[n]]);
      }
    }
    if (shown("reversals")) for (const n of scene.reversals) if (path[n]) {
      const [x, y] = project(path[n]);
      g.fillStyle = ink("--ink"); g.beginPath();
      g.moveTo(x, y - 6); g.lineTo(x + 6, y); g.lineTo(x, y + 6); g.lineTo(x - 6, y); g.closePath(); g.fill();
      g.strokeStyle = ink("--paper"); g.lineWidth = 1; g.stroke();
    }
    for (const [n, radius] of [[0, 6], [i, 5]]) if (path[n]) {
      g.beginPath(); g.arc(...project(path[n]), radius, 0, 7); g.lineWidth = 2.5;
      g.strokeStyle = n === i ? ink("--b") : ink("--a"); g.fillStyle = ink("--paper"); g.fill(); g.stroke();
    }
    g.fillStyle = ink("--paper"); g.globalAlpha = 0.7; g.fillRect(0, h - 56, 62, 56); g.fillRect(w - 0.3 * w - 22, h - 32, 0.3 * w + 22, 32); g.globalAlpha = 1;
    const o = [28, h - 26];
    g.font = "12px system-ui, sans-serif"; g.fillStyle = g.strokeStyle = ink("--soft"); g.lineWidth = 1.5;
    ["x", "y", "z"].forEach((name, m) => {
      const tip = to([0, 1, 2].map(n => n === m ? 22 : 0)), x = o[0] + tip[0], y = o[1] + tip[1];
      g.beginPath(); g.moveTo(...o); g.lineTo(x, y); g.stroke(); g.fillText(name, x + 3, y + 3);
    });
    scaleBar(g, w, h, k, ink("--soft"));
  }

  const zoom = f => {
    if (!view.zoom) return;
    const to = Math.min(400, Math.max(0.05, view.zoom * f));
    view.zoom = to; draw();
  };
  const turn = (dx, dy) => {
    view.yaw += dx; view.pitch = Math.min(1.57, Math.max(-1.57, view.pitch + dy));
    const kept = view.zoom;
    fit(canvas.clientWidth, canvas.clientHeight, view.whole); view.zoom = kept;
    draw();
  };
  const fingers = new Map();
  canvas.addEventListener("pointerdown", e => { fingers.set(e.pointerId, [e.clientX, e.clientY]); canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", e => {
    const before = fingers.get(e.pointerId);
    if (!before) return;
    const now = [e.clientX, e.clientY];
    if (fingers.size === 1) turn((now[0] - before[0]) * 0.008, (now[1] - before[1]) * 0.008);
    else {
      const other = [...fingers].find(([id]) => id !== e.pointerId)[1];
      const apart = Math.hypot(before[0] - other[0], before[1] - other[1]);
      if (apart > 1) zoom(Math.hypot(now[0] - other[0], now[1] - other[1]) / apart);
    }
    fingers.set(e.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, e => fingers.delete(e.pointerId));
  canvas.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.001)); }, { passive: false });
  canvas.addEventListener("keydown", e => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[e.key];
    if (step) { e.preventDefault(); turn(...step); }
    if (e.key === "+") zoom(1.2);
    if (e.key === "-") zoom(1 / 1.2);
  });
  for (const each of document.querySelectorAll("#view-controls input")) each.addEventListener("change", draw);
  const look = to => { view = { ...view, ...to, zoom: 0 }; draw(); };
  $("reset").addEventListener("click", () => { view = { ...START }; draw(); });
  $("whole").addEventListener("click", () => look({ whole: true }));
  $("from-side").addEventListener("click", () => look({ yaw: -Math.PI / 2, pitch: 0 }));
  $("from-above").addEventListener("click", () => look({ yaw: 0, pitch: -Math.PI / 2 }));
  onChange(what => { if (what === "mirror") view.zoom = 0; draw(); });
})();
