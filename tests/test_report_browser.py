"""The pages in a browser: nothing logged, nothing fetched, what is moved changes the picture, keys, phone, print."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from test_report import result_folder

from speckle_rec.report import dataset, html, niivue
from tools.browser import FOUND, Browser

pytestmark = [pytest.mark.skipif(FOUND is None, reason="NOT TESTED: the pages in a browser (install chromium)"),
              pytest.mark.figures]
READY = "document.documentElement.dataset.slices === 'yes'"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A result with everything, but for the viewer of others."""
    folder = result_folder(tmp_path_factory.mktemp("browser") / "it's a result")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(niivue, "installed", lambda: None)
        html.write(folder / "report.html", folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The page of a benchmark of two engines."""
    path = tmp_path_factory.mktemp("many") / "report.html"
    lines = {name: [dataset.Line(f"sub00{k}__RH", {"final": mean + 0.1 * k, "GPE": 9 - k, "local": None},
                                 link=f"{name}/scans/{k}/report.html" if k < 3 else "") for k in range(8)]
             + [dataset.Line("sub009__LH", {"final": 0.0}, "no <speckle>")] for name, mean in (("a", -2.3), ("b", 0.1))}
    dataset.write(path, "Benchmark", lines, version="1", links={"a": "a/report.html"})
    return path


@pytest.fixture(scope="module")
def browser():
    with Browser(1400, 900) as opened:
        yield opened


@pytest.fixture
def opened(browser, page):
    browser.size(1400, 900)
    browser.dark(False)
    browser.open(page, READY)
    browser.settle()
    yield browser
    assert browser.errors == [] and browser.requests == []


def inked(browser, *names):
    """What the canvases of these names show, as one text."""
    browser.settle()
    return [browser.run(f"document.getElementById('{name}').toDataURL()") for name in names]


def moved(browser, name, value):
    """Set an input as a hand does."""
    browser.run(f"(e => {{ e.value = {value!r}; for (const n of ['input', 'change']) "
                f"e.dispatchEvent(new Event(n, {{bubbles: true}})); }})(document.getElementById({name!r}))")
    browser.settle()


SLICES = ("slice-z", "slice-x", "slice-y")


def test_scrubbing_one_slice_changes_it_and_the_cross_in_the_others(opened):
    opened.run("document.getElementById('show-plane').click()")     # so that nothing but the volume is drawn
    for name, own in (("z", "slice-z"), ("x", "slice-x"), ("y", "slice-y")):
        before = dict(zip(SLICES, inked(opened, *SLICES), strict=True))
        moved(opened, f"at-{name}", int(opened.run(f"document.getElementById('at-{name}').value")) - 8)
        after = dict(zip(SLICES, inked(opened, *SLICES), strict=True))
        assert all(before[s] != after[s] for s in SLICES), own
    before = inked(opened, *SLICES)
    moved(opened, "brightest", 60)
    assert all(a != b for a, b in zip(before, inked(opened, *SLICES), strict=True))
    before = inked(opened, *SLICES)
    opened.run("document.getElementById('nearer').click()")
    assert all(a != b for a, b in zip(before, inked(opened, *SLICES), strict=True))


def test_all_slices_have_one_scale(opened):
    """The panes are as large as what they show, at the same pixels a mm."""
    size = opened.run("JSON.parse(document.getElementById('scene').textContent).volume")
    mm = [n * s for n, s in zip(size["size"], size["spacing"], strict=True)]
    widths = [opened.run(f"document.getElementById('{name}').clientWidth") for name in SLICES]
    heights = [opened.run(f"document.getElementById('{name}').clientHeight") for name in SLICES]
    scale = [*np.divide(widths, [mm[0], mm[2], mm[0]]), *np.divide(heights, [mm[1], mm[1], mm[2]])]
    np.testing.assert_allclose(scale, scale[0], rtol=0.02)


def test_a_slice_shows_the_voxels_of_its_place(opened):
    """A pixel of the canvas against the voxel that lies there, in the pane from above, where z runs upwards."""
    opened.run("for (const id of ['show-plane', 'follow']) document.getElementById(id).click()")
    told = opened.run("""(async () => {
      const scene = JSON.parse(document.getElementById('scene').textContent), v = scene.volume;
      const text = atob(document.getElementById('volume-estimated').textContent.trim());
      const data = new Uint8Array(await new Response(new Blob([Uint8Array.from(text, c => c.charCodeAt(0))]).stream()
        .pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
      const c = document.getElementById('slice-y'), g = c.getContext('2d');
      const y = Number(document.getElementById('at-y').value);
      const [low, high] = v.window, [nx, ny, nz] = v.size, out = [];
      for (let n = 0; n < 300; n++) {
        const i = 2 + (n * 7) % (nx - 4), k = 2 + (n * 5) % (nz - 4);
        const px = g.getImageData((i + .5) / nx * c.width, (1 - (k + .5) / nz) * c.height, 1, 1);
        out.push([px.data[0], Math.max(0, Math.min(255, 255 * (data[i + nx * (y + ny * k)] - low) / (high - low)))]);
      }
      return out; })()""")
    shown, meant = np.array(told, float).T
    assert meant.std() > 10 and np.corrcoef(shown, meant)[0, 1] > 0.8


def test_difference_and_blend_with_the_tracked_volume(opened):
    seen = {tuple(inked(opened, *SLICES))}
    for mode in ("tracked", "blend", "difference"):
        moved(opened, "mode", mode)
        seen.add(tuple(inked(opened, *SLICES)))
    assert len(seen) == 4
    moved(opened, "mode", "blend")
    before = inked(opened, "slice-z")
    moved(opened, "mix", 90)
    assert inked(opened, "slice-z") != before


def test_keys_step_and_play(opened):
    told = "document.getElementById('told').textContent"
    opened.run("document.body.focus()")
    assert opened.run(told).startswith("frame 0 ·")
    before = inked(opened, "film-view", "view", "time", *SLICES)
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        opened.key(key)
    text = opened.run(told)
    assert text.startswith("frame 2 · 0.10 s · rock · step ") and "coherence 0.6" in text and "confidence 0.21" in text
    moved(opened, "frame", 60)
    opened.wait("document.getElementById('told').textContent.startsWith('frame 60 ')")
    assert all(a != b for a, b in zip(before, inked(opened, "film-view", "view", "time", *SLICES), strict=True))
    opened.key(" ")
    opened.wait("Number(document.getElementById('frame').value) > 64")
    opened.key(" ")
    at = opened.run("document.getElementById('frame').value")
    opened.run("new Promise(done => setTimeout(done, 300))")
    assert opened.run("document.getElementById('frame').value") == at
    moved(opened, "frame", 118)
    opened.key(" ")
    opened.wait("document.getElementById('play').textContent.includes('play')")     # ends by itself
    assert opened.run("document.getElementById('frame').value") == "119"


def test_canvases_have_keys_of_their_own(opened):
    for canvas, keys in (("view", ("ArrowLeft", "ArrowUp", "+", "-")),
                         ("slice-z", ("ArrowLeft", "ArrowDown", "PageDown", "+"))):
        opened.run(f"document.getElementById('{canvas}').focus()")
        for key in keys:
            before = inked(opened, canvas)
            opened.key(key)
            assert inked(opened, canvas) != before, (canvas, key)
    assert opened.run("document.getElementById('frame').value") == "0"


def test_marks_on_the_time_line_lead_to_their_frames(opened):
    at = "document.getElementById('frame').value"
    opened.run("document.querySelectorAll('#reversals button')[1].click()")
    assert opened.run(at) == "45"
    opened.run("document.querySelector('#phases [data-phase=turn]').click()")
    assert opened.run(at) == "80"
    for frame in ("100", "3", "100"):       # the place, what it is the same as, and back
        opened.run("document.querySelectorAll('#revisits button')[0].click()")
        assert opened.run(at) == frame
    assert "same place as at" in opened.run("document.querySelector('#revisits button').title")


def test_every_switch_of_the_three_dimensional_view_changes_it(opened):
    moved(opened, "frame", 60)
    opened.run("new Promise(done => setTimeout(done, 200))")
    names = opened.run("[...document.querySelectorAll('#view-controls input')].map(e => e.id)")
    assert len(names) == 8
    for name in names:
        before = inked(opened, "view")
        opened.run(f"document.getElementById('{name}').click()")
        assert inked(opened, "view") != before, name
        opened.run(f"document.getElementById('{name}').click()")
    for button in ("from-side", "from-above", "whole", "reset"):
        before = inked(opened, "view")
        opened.run(f"document.getElementById('{button}').click()")
        assert inked(opened, "view") != before, button
    before = inked(opened, "view", "film-view")
    opened.run("document.getElementById('show-cells').click()")
    assert all(a != b for a, b in zip(before, inked(opened, "view", "film-view"), strict=True))


def test_the_path_fills_the_view_at_first(opened):
    """No speck: the path's extent is a good part of the canvas, and lies within it."""
    for box in opened.run("[...document.querySelectorAll('#view-controls input')].map(e => e.id)"):
        if box != "show-estimated":
            opened.run(f"document.getElementById('{box}').click()")
    opened.run("document.documentElement.style.setProperty('--b', 'transparent')")
    low, high, size = opened.run("""(() => {
      const c = document.getElementById('view'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      const ink = getComputedStyle(document.documentElement).getPropertyValue('--a').match(/\\w\\w/g)
        .map(h => parseInt(h, 16));
      const low = [1e9, 1e9], high = [0, 0];
      for (let y = 0; y < c.height; y++) for (let x = 0; x < c.width; x++) {
        const n = 4 * (x + y * c.width);
        if (!ink.every((v, m) => Math.abs(v - d[n + m]) < 4)) continue;
        [x, y].forEach((v, m) => { low[m] = Math.min(low[m], v); high[m] = Math.max(high[m], v); });
      }
      return [low, high, [c.width, c.height]]; })()""")
    extent = (np.array(high) - low) / size
    assert extent.max() > 0.25 and min(low) > 0 and (np.array(high) < size).all()


def test_the_other_reading_is_shown_in_all_views(opened, page):
    moved(opened, "frame", 90)
    opened.run("new Promise(done => setTimeout(done, 200))")
    before = inked(opened, "view", "slice-x", "slice-y")
    z = float(opened.run("document.getElementById('told-z').textContent").split()[0])
    opened.run("document.getElementById('mirrored').click()")
    assert all(a != b for a, b in zip(before, inked(opened, "view", "slice-x", "slice-y"), strict=True))
    assert float(opened.run("document.getElementById('told-z').textContent").split()[0]) == pytest.approx(-z)
    assert opened.run("document.querySelector('.mirror-note').textContent").strip() == (
        "Shown is the mirror image: turned clockwise; the tracked path stays where it is.")
    command = shlex.split(opened.run("document.getElementById('command').textContent"))
    assert command[2:5] == ["/scans/my scan.h5", "-o", str(page.parent)] and command[-1] == "--mirrored"
    opened.run("document.getElementById('mirrored').click()")
    assert inked(opened, "view", "slice-x", "slice-y") == before


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("name", ["page", "many"])
def test_nothing_sticks_out_and_no_column_is_hidden(browser, request, name, width):
    browser.size(width, 900)
    browser.open(request.getfixturevalue(name))
    browser.settle()
    assert browser.run("document.documentElement.scrollWidth") <= width
    cells = "[...document.querySelectorAll('td')].filter(e => e.textContent.trim() && !e.closest('details'))"
    assert browser.run(f"{cells}.every(e => e.getBoundingClientRect().width > 0 && "
                       f"e.getBoundingClientRect().right <= {width})")
    assert browser.run(f"{cells}.length") > 10
    assert browser.errors == [] and browser.requests == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["page", "many"])
def test_axe_finds_nothing(browser, request, name, dark):
    package = pytest.importorskip("axe_core_python", reason="NOT TESTED: accessibility (pip install axe-core-python)")
    code = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    for width in (1400, 390):
        browser.size(width, 900)
        browser.dark(dark)
        browser.open(request.getfixturevalue(name))
        browser.run(code + "; 0")
        found = browser.run("axe.run().then(r => ({bad: r.violations.map(v => [v.id, v.nodes.map(n => n.html)]),"
                            " passed: r.passes.map(v => v.id)}))")
        assert found["bad"] == [] and {"color-contrast", "document-title"} <= set(found["passed"])


@pytest.mark.parametrize("name", ["page", "many"])
def test_it_prints_on_two_pages(browser, request, name):
    browser.size(1400, 900)
    browser.open(request.getfixturevalue(name))
    printed = browser.pdf()
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 2


def test_tables_are_sorted_by_their_headings(browser, many):
    browser.size(1400, 900)
    browser.open(many)
    column = "[...document.querySelectorAll('#scans tbody tr')].map(r => r.cells[{}].textContent.trim())"
    best = browser.run(column.format(2))
    assert best == sorted(best, key=float)      # the worst of the best engine first
    browser.run("document.querySelector('#scans [data-column=\"0\"]').click()")
    first = browser.run(column.format(1))
    assert first == sorted(first, key=float)
    browser.run("document.querySelector('#scans [data-column=\"0\"]').click()")
    assert browser.run(column.format(1)) == first[::-1]
    assert browser.run("document.querySelectorAll('#scans th')[1].getAttribute('aria-sort')") == "descending"
    browser.run("(e => { e.value = '-1'; e.dispatchEvent(new Event('change')); })"
                "(document.querySelector('select[data-table=scans]'))")
    names = browser.run(column.format(0))
    assert names == sorted(names)
    assert "no <speckle>" in browser.run("document.body.textContent") and browser.errors == []


def test_the_rendering_of_others_is_drawn_without_a_request(browser, page):
    pytest.importorskip("ipyniivue", reason="NOT TESTED: the rendering (pip install ipyniivue)")
    path = page.with_name("with-niivue.html")
    html.write(path, page.parent)
    assert path.stat().st_size < 25e6
    browser.size(1000, 900)
    browser.open(path, READY)
    browser.run("document.getElementById('niivue').scrollIntoView()")
    browser.wait("document.documentElement.dataset.niivue === 'yes' || "
                 "document.getElementById('niivue-told').textContent.startsWith('No rendering')")
    told = browser.run("document.getElementById('niivue-told').textContent")
    if "WebGL" in told:
        pytest.skip("NOT TESTED: the rendering: this browser has no WebGL 2")
    assert told.startswith("Drag") and browser.requests == [] and browser.errors == []
    text = browser.run("document.querySelector('.rendering').textContent")
    assert re.search(r"NiiVue \d+\.\d+\.\d+ out of ipyniivue \d+\.\d+.*licence BSD", text)
    browser.settle()
    first = browser.picture()
    moved(browser, "niivue-mode", "slices")
    assert browser.picture() != first
