"""Model files and checkpoints that are damaged, forged or too new: a named error, or the right result.

The forged files are made in fuzz_files.py; what its fuzzer found interesting is in the folder corpus.
"""

import os
from pathlib import Path

import fuzz_files as files
import numpy as np
import programs
import pytest

from fastmlp import MLP, Trainer

X, Y = files.X, files.Y

FORGED = files.forged()
REFUSED = [name for name in FORGED if name.startswith("refused")]
TAKEN = [name for name in FORGED if name.startswith("taken")]
CORPUS = sorted(files.CORPUS.iterdir())
WHOLE = {
    "model": files.model(),
    "checkpoint": files.checkpoint(),
    "checkpoint-cut-off": files.checkpoint(cut_off=True),
}


def loaded(kind, path):
    """All that can be had from a file, as the bytes of another one that its network or trainer writes."""
    if kind == "model":
        return files.written(MLP.load(path).save)
    trainer = Trainer.resume(path, X, Y, callback=files.one_epoch)
    trainer.history.seconds[:] = [0.0] * len(trainer.history.seconds)
    return files.written(trainer.save_checkpoint)


def refuses(kind, path):
    """Whether the file is refused by an error that names it."""
    try:
        loaded(kind, path)
    except ValueError as error:
        if str(path) in str(error):
            return True
        raise
    return False


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hostile.safetensors"


@pytest.mark.parametrize("kind", WHOLE)
def test_28_truncated_at_every_byte(path, kind):
    path.write_bytes(WHOLE[kind])
    for end in reversed(range(len(WHOLE[kind]))):
        os.truncate(path, end)
        assert refuses(kind, path), end


@pytest.mark.parametrize("kind", WHOLE)
def test_28_every_bit_flipped(path, kind):
    """What is taken nevertheless says the same: other letters of an escape, or a digest of another name."""
    whole = WHOLE[kind]
    path.write_bytes(whole)
    expected = loaded(kind, path)
    taken = 0
    with open(path, "r+b", buffering=0) as file:
        for byte, number in enumerate(whole):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([number ^ 1 << bit]), byte)
                if not refuses(kind, path):
                    taken += 1
                    assert loaded(kind, path) == expected, (byte, bit)
            os.pwrite(file.fileno(), bytes([number]), byte)
    assert taken < 100


@pytest.mark.parametrize("kind", WHOLE)
def test_files_without_a_digest_are_read(path, kind):
    path.write_bytes(WHOLE[kind])
    expected = loaded(kind, path)
    path.write_bytes(files.without_digest(WHOLE[kind]))
    assert b"digest" not in path.read_bytes()
    assert loaded(kind, path) == expected


@pytest.mark.parametrize("kind", WHOLE)
def test_a_digest_of_other_content_is_refused(path, kind):
    header, data = files.parted(WHOLE[kind])
    path.write_bytes(files.assembled(header, data[:-1] + bytes([data[-1] ^ 1])))
    with pytest.raises(ValueError, match=r"hostile\.safetensors: .*damaged.*digest"):
        loaded(kind, path)


@pytest.mark.parametrize("name", REFUSED)
def test_29_forged_files_are_refused(path, name):
    path.write_bytes(FORGED[name])
    assert refuses("model", path)
    assert refuses("checkpoint", path)


@pytest.mark.parametrize("name", TAKEN)
def test_29_whole_files_beside_them_are_taken(path, name):
    path.write_bytes(FORGED[name])
    assert files.used(path) == [name.split("-")[1]]


@pytest.mark.parametrize("name", [path.name for path in CORPUS])
def test_29_files_of_the_corpus(path, name):
    content = (files.CORPUS / name).read_bytes()
    assert len(content) < 4096
    path.write_bytes(content)
    found = files.used(path)
    if name.startswith("taken"):
        assert found == [name.split("-")[1]]


def test_the_corpus_is_small_and_has_what_can_be_used():
    assert set(TAKEN) <= {path.name for path in CORPUS}
    assert len(CORPUS) < 100


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell the addresses")
def test_29_refused_before_memory_is_taken(path):
    """With one gigabyte to take: what claims more is a ValueError all the same, not a MemoryError."""
    assert int(programs.output("hostile_files/capped.py", path)) >= len(FORGED)


def test_29_no_code_is_run(path):
    """Nothing is imported, compiled, unpickled or started while files are loaded; the hook would see it."""
    seen = programs.output("hostile_files/watched.py", path)
    assert {"compile", "exec", "import", "pickle.find_class"} <= set(seen.split())


@pytest.mark.parametrize("kind", ["checkpoint", "checkpoint-cut-off"])
def test_30_a_checkpoint_of_a_newer_version(path, kind):
    path.write_bytes(files.changed(WHOLE[kind], metadata={"format_version": "9"}))
    with pytest.raises(
        ValueError, match=r"hostile\.safetensors: .*version 9.*reads versions up to 2.*install"
    ):
        Trainer.resume(path, X, Y)


def test_30_a_checkpoint_whose_shapes_do_not_chain(path):
    path.write_bytes(files.changed(WHOLE["checkpoint"], state={("sizes",): [2, 4, 1]}))
    with pytest.raises(ValueError, match=r"hostile\.safetensors: .*network.* \(13,\).* \(17,\)"):
        Trainer.resume(path, X, Y)


@pytest.mark.parametrize("tensor", ["moments", "parameters", "best", "loss"])
def test_30_a_checkpoint_with_a_tensor_of_another_shape(path, tensor):
    path.write_bytes(
        files.changed(WHOLE["checkpoint-cut-off"], tensors={tensor: np.ones((5, 1), np.float32)})
    )
    with pytest.raises(ValueError, match=rf"hostile\.safetensors: .*{tensor}: float32 \(5, 1\), where "):
        Trainer.resume(path, X, Y)


GENERATORS = ["PCG64", "PCG64DXSM", "Philox", "SFC64"]


def swept(path, content, place):
    """How many values in this place of the state a trainer could be made of; it was used then."""
    taken = 0
    for value in files.VALUES:
        path.write_bytes(files.changed(content, state={place: value}))
        taken += files.used(path) == ["checkpoint"]
    return taken


@pytest.mark.parametrize("cut_off", [False, True])
def test_forged_state_is_refused_or_can_be_trained_on(path, cut_off):
    """Any value in any place: no other exception, no history with holes, and it can be saved again."""
    content = files.checkpoint(cut_off)
    taken = {place: swept(path, content, place) for place in files.places(files.state_of(content))}
    assert taken[("sizes",)] == taken[("optimizer",)] == taken[("random",)] == 0
    assert taken[("l2",)] > 0


@pytest.mark.parametrize("name", GENERATORS)
def test_forged_random_streams_are_refused_or_can_be_drawn_from(path, name):
    content = files.checkpoint(bit_generator=name)
    for place in files.places(files.state_of(content)["random"], ("random",)):
        assert swept(path, content, place) < len(files.VALUES) / 2


@pytest.mark.parametrize("kind", ["checkpoint", "checkpoint-cut-off"])
def test_a_state_without_one_of_its_entries_is_refused(path, kind):
    state = files.state_of(WHOLE[kind])
    for name in state:
        rest = {key: value for key, value in state.items() if key != name}
        path.write_bytes(files.changed(WHOLE[kind], metadata={"state": files.json.dumps(rest)}))
        assert refuses("checkpoint", path), name


def test_a_tensor_more_in_a_checkpoint_is_left_alone(path):
    path.write_bytes(WHOLE["checkpoint"])
    expected = loaded("checkpoint", path)
    path.write_bytes(files.changed(WHOLE["checkpoint"], tensors={"more": np.ones(3)}))
    assert loaded("checkpoint", path) == expected


@pytest.mark.parametrize("bit_generator", ["MT19937", "PCG64", "PCG64DXSM"])
def test_a_random_stream_that_stands_still_is_refused(path, bit_generator):
    """A row is drawn by rejection: from a stream of zeros, without end and deaf to Ctrl-C."""
    path.write_bytes(files.stuck(bit_generator))
    with pytest.raises(ValueError, match=rf"hostile\.safetensors: .*{bit_generator}"):
        Trainer.resume(path, X, Y)


def test_the_least_mersenne_twister_that_moves_is_taken(path):
    key = [2**31, *[0] * 623]  # one bit of its 19937
    path.write_bytes(files.changed(files.stuck("MT19937"), state={("random", "state", "key"): key}))
    assert Trainer.resume(path, X, Y).fit(X, Y, 1).stop_reason == "epochs"


def test_weights_of_nan_diverge_at_once(path):
    path.write_bytes(FORGED["taken-checkpoint-weights-nan"])
    with pytest.warns(RuntimeWarning, match="diverged"):
        trainer = Trainer.resume(path, X, Y)
    assert trainer.history.stop_reason == "diverged"
    assert len(trainer.history.loss) == 1


@pytest.mark.parametrize("name", ["(1 1)f4,i4", "a", "f", "<f4", "single", "float32 "])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_dtype_of_another_name_is_refused(path, kind, name):
    """NumPy knows more names, warns of some, and gives the numbers in parentheses to Python's parser."""
    other = {"metadata": {"dtype": name}} if kind == "model" else {"state": {("dtype",): name}}
    path.write_bytes(files.changed(WHOLE[kind], **other))
    assert refuses(kind, path)
