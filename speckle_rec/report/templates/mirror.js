// The switch between the two readings.
if ($("mirrored")) {
  $("mirrored").addEventListener("change", e => {
    state.mirrored = e.target.checked;
    document.documentElement.dataset.mirrored = state.mirrored ? "yes" : "";
    for (const note of document.querySelectorAll(".mirror-note")) note.hidden = !state.mirrored;
    changed("mirror");
  });
}
// Where this page lies is known only now: the folder may have been moved.
if ($("command") && location.protocol === "file:") {
  const folder = decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "").replace(/^\/(?=[A-Za-z]:)/, "");
  const quoted = /^[\w@%+=:,./-]+$/.test(folder) ? folder : `'${folder.replaceAll("'", `'"'"'`)}'`;
  $("command").textContent = $("command").textContent.replace(/ -o .* --overwrite/, () => ` -o ${quoted} --overwrite`);
}
