"""Nothing at run time unpickles, evaluates text or reaches for the network; the ranges of dependencies are closed."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "speckle_rec").rglob("*.py")) + [ROOT / "cli.py", ROOT / "submission" / "predict_ddfs.py"]
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "urllib", "requests",
           "http", "ftplib", "smtplib", "telnetlib", "xmlrpc", "aiohttp", "httpx", "ssl", "asyncio"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {("np", "load"): "allow_pickle", ("os", "system"): None, ("os", "popen"): None,
              ("yaml", "load"): None, ("torch", "load"): None}
# Where an exception is meant, and why.
PERMITTED = {
    ("kernels/launch.py", "exec"): "frames around kernel bodies, made of names in the source alone",
    ("cli/interrupt.py", "socket"): "a pair within the process, by which a signal wakes a thread",
    ("live/wire.py", "socket"): "reads and writes connections that `live` was asked for",
    ("live/link.py", "socket"): "OpenIGTLink, at the user's word: on loopback unless told otherwise",
    ("live/page.py", "http"): "the page of `live`, served on loopback",
    ("io/staging.py", "socket"): "the name of this machine, in the names of unfinished files",
    ("evaluation/challenge.py", "subprocess"): "someone's submission, in an interpreter of its own, at the user's word",
    ("compute/workers.py", "distributed"): "a cluster, at the user's word (--scheduler)",
}


def name_of(path):
    return str(path.relative_to(ROOT / "speckle_rec")) if path.is_relative_to(ROOT / "speckle_rec") else path.name


def found_in(source: str, file: str) -> list[str]:
    """What a source does that it should not."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
            [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else [])
        for module in modules:
            top = module.split(".")[0]
            if (top in MODULES or top in ("socket", "subprocess", "distributed")) and (file, top) not in PERMITTED:
                wrong.append(f"line {node.lineno}: imports {module}")
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS and (file, node.func.id) not in PERMITTED:
                wrong.append(f"line {node.lineno}: calls {node.func.id}")
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                key = node.func.value.id, node.func.attr
                option = ATTRIBUTES.get(key)
                if key in ATTRIBUTES and (option is None or any(k.arg == option for k in node.keywords)):
                    wrong.append(f"line {node.lineno}: calls {'.'.join(key)}")
            if any(k.arg == "shell" for k in node.keywords):
                wrong.append(f"line {node.lineno}: runs a shell")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_pickle_no_eval_no_network(path):
    assert found_in(path.read_text(encoding="utf-8"), name_of(path)) == []


@pytest.mark.parametrize("source", [
    "import pickle", "from urllib.request import urlopen", "import socket", "eval('1')", "exec(x)",
    "np.load(p, allow_pickle=True)", "os.system('x')", "run(x, shell=True)", "import subprocess as s"])
def test_the_check_sees(source):
    assert found_in(source, "x.py")


def test_every_range_has_two_ends():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        assert ">=" in requirement and "<" in requirement, requirement


def test_a_reconstruction_opens_no_connection(tmp_path):
    """The sandbox of the fuzzer hears of every connection and process."""
    from small_scans import speckle, write_scan

    from tools.reliability.sandbox import Sandbox
    write_scan(tmp_path / "a.h5", speckle(3))
    with Sandbox(120, figures=True) as sandbox:
        outcome = sandbox.run(["reconstruct", "a.h5", "-o", "out/r", "-q"], tmp_path, tmp_path / "out")
    assert outcome.status == 0 and outcome.alarms == () and outcome.changed == ()
    assert (tmp_path / "out" / "r" / "report.html").is_file() and sys.version_info >= (3, 11)
