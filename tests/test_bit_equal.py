"""The script that says whether reconstructions still come out with the same bytes."""

import numpy as np
import pytest

from tools import bit_equal


def test_one_bit_is_told():
    a = np.linspace(0, 1, 5)
    b = a.copy()
    assert bit_equal.difference(a, b) == "equal"
    b[2] = np.nextafter(b[2], 2)
    assert bit_equal.difference(a, b).startswith("differs in 20.0% of its numbers, at most by 1.11e-16")
    assert "float32" in bit_equal.difference(a, a.astype(np.float32))
    assert bit_equal.difference(None, a) == "only now"


def test_what_was_saved_is_compared_array_by_array(tmp_path, monkeypatch, capsys):
    made = {"scan: covariance": np.eye(3), "scan: confidence": np.ones(2, np.float32)}
    monkeypatch.setattr(bit_equal, "made", lambda *_: made)
    file = tmp_path / "before.npz"
    assert bit_equal.main(["save", str(file), "scan"]) == 0
    assert bit_equal.main(["compare", str(file), "scan"]) == 0
    made["scan: confidence"] = np.zeros(2, np.float32)
    assert bit_equal.main(["compare", str(file), "scan"]) == 1
    assert "differs in 100.0%" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        bit_equal.main(["compare", str(tmp_path / "nothing.npz"), "scan"])
