from __future__ import annotations

import copy
import gc
import logging
import mmap
import os
import pickle
import shutil
from pathlib import Path

import numpy
import pensee
import pytest
from conftest import QUESTION


def test_a_model_tells_of_itself(model: pensee.Model) -> None:
    info = model.info
    assert info.architecture == "deepseek_v3"
    assert info.n_threads == 1
    assert info.can_think and info.has_chat_template
    assert (info.thought_open, info.thought_close) == ("<think>", "</think>")
    assert info.n_routed_experts >= 16 and info.num_experts_per_tok >= 1
    assert info.weights_bytes > 1_000_000
    assert "deepseek_v3" in repr(model)
    assert pensee.has_feature(info.kernels) and not pensee.has_feature("nonsense")
    assert pensee.__version__ == pensee.version()


def test_errors_are_one_hierarchy_with_the_status_and_message_of_c(tmp_path: Path) -> None:
    with pytest.raises(pensee.NotFoundError, match="nowhere") as found:
        pensee.load(tmp_path / "nowhere")
    assert isinstance(found.value, (pensee.PenseeError, FileNotFoundError))
    assert found.value.status == 2
    with pytest.raises(pensee.NotFoundError, match="no\udcffwhere"):
        pensee.load(tmp_path / "no\udcffwhere")
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(pensee.CorruptFileError, match="model.safetensors"):
        pensee.load(tmp_path)
    with pytest.raises(pensee.InvalidArgumentError, match="NUL"):
        pensee.load("a\0b")
    with pytest.raises(pensee.InvalidArgumentError, match="threads"):
        pensee.load(bundled=True, n_threads=-1)
    with pytest.raises(TypeError, match="either"):
        pensee.load()
    with pytest.raises(TypeError, match="either"):
        pensee.load("x", bundled=True)
    statuses = [kind.status for kind in pensee.PenseeError.__subclasses__()]
    assert sorted(statuses) == list(range(1, 11))


def test_progress_of_a_load(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    fractions: list[float] = []
    with caplog.at_level(logging.DEBUG, logger="pensee"):
        pensee.load(bundled=True, progress=fractions.append)
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert [record.name for record in caplog.records] == ["pensee"] * len(caplog.records) != []

    ahead: list[float] = []
    pensee.load(bundled=True, read_ahead=True, progress=ahead.append)
    assert ahead == sorted(ahead) and len(ahead) > len(fractions)

    # Of the bundled model nothing can be repacked.
    pensee.load(bundled=True, repack_dir=tmp_path / "copies")
    assert not (tmp_path / "copies").exists()
    with pytest.raises(pensee.PenseeError):
        pensee.load(bundled=True, repack_dir="a\0b")

    # A log message names the folder, which need not be Unicode.
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    shutil.copytree(pensee.bundled_model(), odd)
    with caplog.at_level(logging.DEBUG, logger="pensee"):
        pensee.load(odd)
    assert any(odd in record.getMessage() for record in caplog.records)

    class Enough(Exception):
        pass

    def stop(_: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        pensee.load(bundled=True, progress=stop)


def test_a_bar_shows_the_load(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    pensee.load(bundled=True, progress=True)
    assert "loading: 100%" in capsys.readouterr().err


def test_buffers_live_as_long_as_they_are_used(tmp_path: Path) -> None:
    files = {
        path.name: numpy.fromfile(path, dtype=numpy.uint8)
        for path in pensee.bundled_model().iterdir()
    }
    model = pensee.load_buffers(files, n_threads=1, repack_dir=tmp_path)
    weights = files.pop("model.safetensors")
    files.clear()
    assert weights.flags.owndata
    del weights
    session = model.session()
    model.close()
    del model
    gc.collect()
    garbage = [numpy.full(4_000_000, 255, numpy.uint8) for _ in range(4)]
    assert "\\boxed{42}" in session.ask(QUESTION, temperature=0).answer
    del garbage


def test_a_buffer_in_use_cannot_be_resized_or_closed() -> None:
    directory = pensee.bundled_model()
    text = bytearray((directory / "config.json").read_bytes())
    files: dict[str, bytes | bytearray | mmap.mmap] = {
        path.name: path.read_bytes() for path in directory.iterdir()
    }
    files["config.json"] = text
    with (directory / "model.safetensors").open("rb") as file:
        weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    files["model.safetensors"] = weights
    model = pensee.load_buffers(files, n_threads=1)
    with pytest.raises(BufferError):
        text.append(0)
    with pytest.raises(BufferError):
        weights.close()
    model.close()
    text.append(0)
    weights.close()
    with pytest.raises(TypeError, match="not int"):
        pensee.load_buffers({1: b""})  # type: ignore[dict-item] # pyright: ignore
    with pytest.raises(TypeError):
        pensee.load_buffers({"config.json": "text"})  # type: ignore[dict-item] # pyright: ignore
    with pytest.raises(pensee.NotFoundError):
        pensee.load_buffers({})


def test_tokens_and_text(model: pensee.Model) -> None:
    tokenizer = model.tokenizer
    text = "7 + 8 \N{LATIN SMALL LETTER E WITH ACUTE} <think>"
    plain = tokenizer.encode(text)
    parsed = tokenizer.encode(text, parse_special=True)
    assert len(parsed) < len(plain)
    assert tokenizer.decode(plain) == tokenizer.decode(parsed) == text
    begin = tokenizer.encode("<\uff5cbegin\u2581of\u2581sentence\uff5c>", parse_special=True)
    assert len(begin) == 1 and tokenizer.is_special(begin[0])
    assert tokenizer.decode(begin + plain, skip_special=True) == text
    assert b"".join(tokenizer.token_bytes(token) for token in plain) == text.encode()
    accent = tokenizer.encode("\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert tokenizer.decode(accent[:1]) in ("\ufffd", "\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert not tokenizer.is_special(plain[0])
    with pytest.raises(pensee.InvalidArgumentError, match="UTF-8"):
        tokenizer.encode("\ud800")
    with pytest.raises(pensee.InvalidArgumentError):
        tokenizer.decode([-1])
    with pytest.raises(pensee.InvalidArgumentError, match="vocabulary"):
        tokenizer.token_bytes(1_000_000)


def test_logits_are_arrays_that_live_by_themselves() -> None:
    model = pensee.load(bundled=True, n_threads=1)
    tokens = model.tokenizer.encode(QUESTION)
    logits = model.logits(tokens)
    assert logits.shape == (len(tokens), model.info.vocab_size)
    assert logits.dtype == numpy.float32
    row = logits[-1]
    expected = row.copy()
    session = model.session(cache_type="f32")
    session.start_tokens(tokens)
    session.prefill()
    newest = session.logits()
    assert (model.logits(numpy.array(tokens)) == logits).all()
    numpy.testing.assert_allclose(newest, expected, rtol=1e-4, atol=1e-4)
    kept = newest.copy()
    session.step()
    session.close()
    model.close()
    del session, model, logits
    gc.collect()
    assert (row == expected).all() and (newest == kept).all()


def test_logits_of_wrong_tokens(model: pensee.Model) -> None:
    with pytest.raises(pensee.InvalidArgumentError):
        model.logits([1_000_000])
    with pytest.raises(TypeError):
        model.logits([2**40])
    with pytest.raises(pensee.PenseeError):
        model.logits([1] * 100_000)


def test_models_are_not_pickled_or_copied(model: pensee.Model) -> None:
    things: list[object] = [model, model.tokenizer, model.session()]
    for thing in things:
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="cannot be pickled"):
            copy.copy(thing)


def test_a_closed_model_says_so() -> None:
    with pensee.load(bundled=True, n_threads=1) as model:
        tokenizer = model.tokenizer
        session = model.session()
    for use in (lambda: model.session(), lambda: model.logits([1]), lambda: tokenizer.encode("1")):
        with pytest.raises(pensee.WrongStateError, match="closed"):
            use()
    assert session.ask(QUESTION, max_tokens=1).usage.thought_tokens == 1


def test_the_estimate_of_memory(model: pensee.Model) -> None:
    small = pensee.estimate_memory(pensee.bundled_model(), context_length=128)
    large = pensee.estimate_memory(
        pensee.bundled_model(), context_length=2048, n_threads=2, cache_type="f32"
    )
    assert small.weights_bytes == large.weights_bytes == model.info.weights_bytes
    assert 0 < small.converted_bytes < small.weights_bytes
    assert small.session_bytes < large.session_bytes
    chunk = pensee.estimate_memory(pensee.bundled_model(), context_length=128, prefill_chunk=4)
    assert chunk.session_bytes < small.session_bytes
    mtp = pensee.estimate_memory(pensee.bundled_model(), context_length=128, speculation="mtp")
    assert mtp.session_bytes > small.session_bytes
    with pytest.raises(pensee.NotFoundError):
        pensee.estimate_memory("nowhere")
