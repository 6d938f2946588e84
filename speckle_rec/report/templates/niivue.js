// A rendering by NiiVue, whose code this page carries; nothing is fetched.
(() => {
  if (!$("niivue")) return;
  const told = $("niivue-told");
  let nv = null, loaded = false;
  const nifti = () => {      // x to the right, z (away) forwards, y (down) downwards
    const tracked = volume.view.mode === "tracked" && volume.tracked, { spacing, below } = scene.volume;
    const size = [...scene.volume.size], origin = [...scene.volume.origin];
    if (tracked) { size[2] = scene.volume.tracked_layers; origin[2] -= below * spacing[2]; }
    const header = new DataView(new ArrayBuffer(352));
    header.setInt32(0, 348, true);
    [3, ...size, 1, 1, 1, 1].forEach((v, n) => header.setInt16(40 + 2 * n, v, true));
    header.setInt16(70, 2, true); header.setInt16(72, 8, true);
    [1, ...spacing, 1, 1, 1, 1].forEach((v, n) => header.setFloat32(76 + 4 * n, v, true));
    header.setFloat32(108, 352, true); header.setFloat32(112, 1, true);
    header.setInt16(254, 1, true); header.setUint8(123, 2);
    const away = state.mirrored && !tracked ? -1 : 1;
    const rows = [[spacing[0], 0, 0, origin[0]], [0, 0, away * spacing[2], away * origin[2]], [0, -spacing[1], 0, -origin[1]]];
    rows.flat().forEach((v, n) => header.setFloat32(280 + 4 * n, v, true));
    [110, 43, 49, 0].forEach((v, n) => header.setUint8(344 + n, v));
    const data = tracked || volume.estimated;
    const out = new Uint8Array(352 + data.length);
    out.set(new Uint8Array(header.buffer)); out.set(data, 352);
    return out.buffer;
  };
  const show = async () => {
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    await nv.loadFromArrayBuffer(nifti(), "volume.nii");
    const { low, high } = volume.view;
    nv.volumes[0].cal_min = low; nv.volumes[0].cal_max = high;
    nv.updateGLVolume();
    aim();
  };
  const aim = () => {
    if (!nv || !nv.volumes.length || !volume.cross) return;
    const [x, y, z] = volume.cross;
    nv.scene.crosshairPos = nv.mm2frac([x, state.mirrored ? -z : z, -y]);
    nv.drawScene();
  };
  const start = async () => {
    if (loaded || !volume.ready) return;
    loaded = true;
    if (!document.createElement("canvas").getContext("webgl2")) { told.textContent = "No rendering: this browser has no WebGL 2."; return; }
    told.textContent = "Starting NiiVue ...";
    try {
      const code = URL.createObjectURL(new Blob([await unzipped("niivue-code")], { type: "text/javascript" }));
      const { Niivue } = await import(code);
      URL.revokeObjectURL(code);
      nv = new Niivue({ backColor: [0.063, 0.082, 0.102, 1], show3Dcrosshair: true, crosshairColor: [1, 0.8, 0.2, 0.6],
        dragAndDropEnabled: false, loadingText: "", isOrientCube: false, logLevel: "silent" });
      await nv.attachToCanvas($("niivue"));
      nv.setSliceType(nv.sliceTypeRender);
      nv.setRenderAzimuthElevation(125, 20);
      await show();
      told.textContent = "Drag to turn, scroll to zoom.";
      document.documentElement.dataset.niivue = "yes";
    } catch (problem) { told.textContent = `No rendering: ${problem.message}`; }
  };
  $("niivue-mode").addEventListener("change", e => {
    if (!nv) return;
    nv.setSliceType(e.target.value === "render" ? nv.sliceTypeRender : nv.sliceTypeMultiplanar);
  });
  if ($("mode")) $("mode").addEventListener("change", () => { if (nv) show(); });
  const seen = new IntersectionObserver(entries => { if (entries.some(e => e.isIntersecting)) start(); });
  seen.observe($("niivue"));
  onChange(what => {
    if (what === "volume" && $("niivue").getBoundingClientRect().top < window.innerHeight) start();
    if (what === "mirror" && nv) show();
    if (what === "cross") aim();
  });
})();
