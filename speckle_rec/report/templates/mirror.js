// The switch between the two readings.
if ($("mirrored")) {
  $("mirrored").addEventListener("change", e => {
    state.mirrored = e.target.checked;
    document.documentElement.dataset.mirrored = state.mirrored ? "yes" : "";
    for (const note of document.querySelectorAll(".mirror-note")) note.hidden = !state.mirrored;
    changed("mirror");
  });
}
