"""Forged files, what a loader may make of them, and a fuzz target. The tests are in test_hostile_files.py.

    pip install atheris
    python tools/fuzz_files.py -max_total_time=600 -timeout=10 FOUND tests/faults/corpus

The second line takes libFuzzer's arguments. It begins with the folders' files and those of `forged`, and
puts new ones into the folder FOUND. A changed file is refused for its digest, and nothing behind that would
ever be reached: so most of what the fuzzer changes gets the digest that fits.

    python tools/fuzz_files.py -merge=1 LEFT FOUND

copies to LEFT what reaches more than all that is in LEFT does.

    python tools/fuzz_files.py --write-corpus

writes the files of `forged` that can be used to tests/faults/corpus; the others there are what the fuzzer
found.
"""

import contextlib
import copy
import functools
import json
import random
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import safetensors.numpy

FUZZING = __name__ == "__main__" and "--write-corpus" not in sys.argv

if FUZZING:
    import atheris

    with atheris.instrument_imports(include=["fastmlp"]):
        import fastmlp.training.checkpoint
        import fastmlp.training.trainer
        from fastmlp import MLP, Trainer
        from fastmlp.io import files
else:
    import fastmlp.training.checkpoint
    import fastmlp.training.trainer
    from fastmlp import MLP, Trainer
    from fastmlp.io import files

CORPUS = Path(__file__).parents[1] / "tests" / "faults" / "corpus"
SIZES = (2, 3, 1)
X = np.array([[0, 1], [1, 0], [2, 1], [1, 2], [3, 1], [0, 3]], dtype=np.float32)  # 6 rows: see `stuck`
Y = np.array([1, 2, 0, 3, 1, 2], dtype=np.float32)
ADDRESS_SPACE = 1 << 30  # more than the process has when it begins


def used(path):
    """Load a file as a model and as a checkpoint, use what comes, and return the names of what came.

    Only ValueError, with the path in it, may come instead, and RuntimeWarning, with the weights that need it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RuntimeWarning)
        loaders = {"model": use_model, "checkpoint": use_checkpoint}
        return [name for name, use in loaders.items() if use(path)]


def use_model(path):
    net = or_refused(path, lambda: MLP.load(path))
    if net is None:
        return False
    features, _, outputs = net.sizes
    assert net.predict(np.ones((2, features))).size == 2 * outputs
    again = saved_and_loaded(path, net.save, MLP.load)
    np.testing.assert_array_equal(again.parameters, net.parameters)
    assert (again.sizes, again.feature_names) == (net.sizes, net.feature_names)
    return True


def use_checkpoint(path):
    trainer = or_refused(path, lambda: Trainer.resume(path, X, Y, callback=one_epoch))
    if trainer is None:
        return False
    history = trainer.history
    require_whole(history)
    if trainer._state.steps > 2**52:  # of more than 2**53 a file is not loaded; no fit takes so many
        return True
    again = saved_and_loaded(
        path, trainer.save_checkpoint, lambda copied: Trainer.resume(copied, X, Y, callback=one_epoch)
    )
    np.testing.assert_array_equal(again.network.parameters, trainer.network.parameters)
    np.testing.assert_array_equal(again._state.moments, trainer._state.moments)
    assert (again.history is None) == (history is None)
    np.testing.assert_equal(vars(again.history or fastmlp.History()), vars(history or fastmlp.History()))
    require_whole(trainer.fit(X, Y, epochs=1))
    assert trainer.network.predict(X).shape == (len(X),)
    return True


def or_refused(path, load):
    """What is loaded; None where that is a ValueError, which must name the file or the argument."""
    try:
        with warnings.catch_warnings(
            action="ignore", category=UserWarning
        ):  # names that do not fit are left out
            return load()
    except ValueError as error:
        if str(path) in str(error) or str(error).startswith(("X: ", "y: ")):
            return None
        raise


def one_epoch(epoch, history):
    return True


def require_whole(history):
    """What is promised of a History."""
    if history is None:
        return
    epochs = len(history.loss)
    for curve in (history.loss, history.validation_loss, history.seconds):
        assert all(type(value) is float for value in curve)
    assert len(history.seconds) == epochs
    assert len(history.validation_loss) in (0, epochs)
    best = history.best_epoch
    assert best is None or (type(best) is int and 0 <= best < epochs)
    assert history.stop_reason is None or history.stop_reason in fastmlp.training.state.STOP_REASONS


def saved_and_loaded(path, save, load):
    copied = f"{path}.again"
    save(copied)
    return load(copied)


# Files, taken apart and put together.


def parted(content):
    """(header, data) of a file: a dict and bytes. ValueError where it has no such header."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("not a header")
    return header, content[8 + size :]


def assembled(header, data):
    """The bytes of a file; the header is a dict, or bytes that would be one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def sealed(header, data):
    """The bytes of a file with the digest that its content has, where it has one."""
    header = copy.deepcopy(header)
    metadata = header.setdefault("__metadata__", {})
    metadata.pop("digest", None)
    with contextlib.suppress(Exception), warnings.catch_warnings():  # it will be refused before its digest
        warnings.simplefilter("ignore")
        tensors = safetensors.numpy.load(assembled(header, data))
        metadata["digest"] = files._digest(tensors, metadata)
    return assembled(header, data)


def changed(content, *, state=None, tensors=None, metadata=None, absent=()):
    """A file with other entries in its state, tensors and metadata, and the digest of what it has then.

    Keys of `state` are paths: ("random", "state", "inc").
    """
    header, _ = parted(content)
    texts = header["__metadata__"] | (metadata or {})
    if state:
        texts["state"] = with_entries(texts["state"], state)
    arrays = safetensors.numpy.load(content) | (tensors or {})
    arrays = {name: array for name, array in arrays.items() if name not in absent}
    texts = {name: text for name, text in texts.items() if name not in (*absent, "digest")}
    return in_order(safetensors.numpy.save(arrays, texts | {"digest": files._digest(arrays, texts)}))


def in_order(content):
    """A file with its metadata in order: safetensors writes them in another one each time."""
    header, data = parted(content)
    return assembled(header | {"__metadata__": dict(sorted(header["__metadata__"].items()))}, data)


def with_entries(text, entries):
    """JSON text with the values at some paths replaced."""
    state = json.loads(text)
    for path, value in entries.items():
        parent = functools.reduce(lambda node, key: node[key], path[:-1], state)
        parent[path[-1]] = value
    return json.dumps(state)


def state_of(content):
    """The state in a checkpoint."""
    return json.loads(parted(content)[0]["__metadata__"]["state"])


def places(node, path=()):
    """The paths of all values in a JSON value, but for itself."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


# The files that are forged by hand. Nothing in them depends on the machine.


@functools.cache
def model(sizes=SIZES, dtype="float32"):
    """A small model file."""
    net = MLP(sizes, dtype=dtype)
    net.parameters[:] = np.arange(net.parameters.size) / 8 - 0.5
    net.feature_names, net.target_names = tuple("aç"[: sizes[0]]), tuple("tu"[: sizes[2]])
    return written(net.save)


@functools.cache
def checkpoint(cut_off=False, standardize=False, bit_generator="PCG64", optimizer="adam"):
    """A small checkpoint: of a fit that is over, or in the second of its three epochs.

    What a fit leaves depends on the machine, to rounding; so numbers of a few digits take its place.
    """
    net = MLP(SIZES)
    net.parameters[:] = np.arange(net.parameters.size) / 8 - 0.5
    seed = np.random.Generator(getattr(np.random, bit_generator)(0))
    trainer = Trainer(net, optimizer, batch_size=2, seed=seed, standardize=standardize)
    contents = []

    def keep(epoch, history):
        contents.append(written(trainer.save_checkpoint))
        return True

    trainer.fit(X, Y, epochs=3, callback=keep)
    content = contents[0] if cut_off else written(trainer.save_checkpoint)
    # but for the scales, by which the data are recognised
    tensors = {
        name: array if name in fastmlp.training.checkpoint.SCALES else rounded(array)
        for name, array in safetensors.numpy.load(content).items()
    }
    names = {"best_loss": 1.0, "improved_loss": 1.0, "divergence_threshold": 1e13}
    state = {("fit", name): value for name, value in names.items()} if cut_off else {}
    tensors |= {"loss": np.array([1.0]), "seconds": np.array([0.25])}
    return changed(content, state=state, tensors=tensors)


def rounded(array):
    return np.round(array * 64) / 64 if array.size and array.dtype.kind == "f" else array


def written(save):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        save(path)
        return in_order(path.read_bytes())


def stuck(bit_generator):
    """A checkpoint whose random stream gives 0 for ever: to draw one of 6 rows by rejection has no end."""
    name = ("random", "state")
    if bit_generator == "MT19937":  # the low bits of its first number are not part of it
        state = {(*name, "key"): [2**31 - 1] + [0] * 623, (*name, "pos"): 624}
    else:
        state = {(*name, "state"): 0, (*name, "inc"): 0}
    return changed(checkpoint(bit_generator=bit_generator), state=state)


def forged():
    """{name: content} of the files in `CORPUS` that are made by hand; "taken" ones can be used."""
    whole = {
        "model": model(),
        "model-float64": model((1, 1, 2), "float64"),
        "model-without-digest": without_digest(model()),
        "checkpoint": checkpoint(),
        "checkpoint-cut-off": checkpoint(cut_off=True),
        "checkpoint-cut-off-standardized": checkpoint(cut_off=True, standardize=True, optimizer="sgd"),
        "checkpoint-without-digest": without_digest(checkpoint(cut_off=True)),
        **{f"checkpoint-{name}": checkpoint(bit_generator=name) for name in ("Philox", "SFC64", "PCG64DXSM")},
        "checkpoint-weights-nan": changed(checkpoint(cut_off=True), tensors=nan_tensors()),
    }
    broken = {
        **broken_lengths(),
        **broken_headers(),
        **{f"model-{name}": file for name, file in broken_tensors(model(), "0.weight").items()},
        **{f"checkpoint-{name}": file for name, file in broken_tensors(checkpoint(), "moments").items()},
        **broken_models(),
        **broken_checkpoints(),
    }
    named = {f"taken-{name}": content for name, content in whole.items()}
    return named | {f"refused-{name}": content for name, content in broken.items()}


def without_digest(content):
    header, data = parted(content)
    del header["__metadata__"]["digest"]
    return assembled(header, data)


def nan_tensors():
    tensors = safetensors.numpy.load(checkpoint(cut_off=True))
    return {name: tensors[name] * np.float32(np.nan) for name in ("network", "parameters", "best", "moments")}


def broken_lengths():
    content = model()
    end = int.from_bytes(content[:8], "little")
    lengths = {
        "length-0": 0,
        "length-1-less": end - 1,
        "length-1-more": end + 1,
        "length-of-the-file": len(content),
        "length-1e8": 10**8,
        "length-1e9-tensors": 60 * 10**9,
        "length-2**63-less-8": 2**63 - 8,
        "length-2**63": 2**63,
        "length-2**64-8": 2**64 - 8,
        "length-2**64-1": 2**64 - 1,
    }
    files = {name: length.to_bytes(8, "little") + content[8:] for name, length in lengths.items()}
    files |= {"empty": b"", "7-bytes": content[:7], "8-bytes": content[:8]}
    return files | {"text": b"fastmlp model\n" * 9}


def broken_headers():
    header, data = parted(model())
    text = json.dumps(header)
    entry = json.dumps(header["0.weight"])
    headers = {
        "not-utf-8": text.encode().replace(b"0.bias", b"0.bi\xffs"),
        "utf-16": text.encode("utf-16"),
        "null": b"null",
        "list": b"[]",
        "empty": b"{}",
        "not-closed": text[:-1].encode(),
        "two": (text + text).encode(),
        "nested-lists": b'{"__metadata__": ' + b"[" * 3000,
        "nested-objects": b'{"a":' * 700,
        "infinity": text.encode().replace(b"[3, 2]", b"[1e999, 2]"),
        "not-a-number": text.encode().replace(b"[3, 2]", b"[NaN, 2]"),
        "metadata-null": json.dumps(header | {"__metadata__": None}).encode(),
        "metadata-of-numbers": json.dumps(header | {"__metadata__": {"format": 1}}).encode(),
        "metadata-absent": json.dumps({key: header[key] for key in header if key[0] != "_"}).encode(),
        "tensor-twice": text.replace('"2.bias": {', f'"0.bias": {entry}, "2.bias": {{').encode(),
        "tensor-is-null": json.dumps(header | {"0.weight": None}).encode(),
    }
    return {f"header-{name}": assembled(text, data) for name, text in headers.items()}


def broken_tensors(content, name):
    header, data = parted(content)
    whole = header[name]
    begin, end = whole["data_offsets"]
    entries = {
        "shape-negative": {"shape": [-3, -2]},
        "shape-2**64": {"shape": [2**64, 1]},
        "shape-wraps-to-0": {"shape": [2**63, 2]},
        "shape-wraps-to-itself": {"shape": [2**62 + 3, 2]},  # times 2 values of 4 bytes: 24, modulo 2**64
        "shape-1e9": {"shape": [10**9], "data_offsets": [begin, begin + 4 * 10**9]},
        "shape-1e9-and-0": {"shape": [10**9, 10**9, 0], "data_offsets": [begin, begin]},
        "shape-of-fractions": {"shape": [1.5, 4]},
        "shape-of-2000": {"shape": [1] * 900},
        "offsets-overlap": {"data_offsets": [0, end - begin]} if begin else {"data_offsets": [4, end + 4]},
        "offsets-beyond": {"data_offsets": [len(data), len(data) + end - begin]},
        "offsets-reversed": {"data_offsets": [end, begin]},
        "offsets-2**64": {"data_offsets": [2**64 - 4, 2**64 - 1]},
        "offsets-negative": {"data_offsets": [-4, end]},
        "dtype-unknown": {"dtype": "F31"},
        "dtype-integer": {"dtype": "I32"},
        "dtype-bfloat16": {"dtype": "BF16", "shape": [(end - begin) // 2]},
        "dtype-float8": {"dtype": "F8_E4M3", "shape": [end - begin]},
        "dtype-bool": {"dtype": "BOOL", "shape": [end - begin]},
    }
    files = {key: sealed(header | {name: whole | entry}, data) for key, entry in entries.items()}
    files["data-left-over"] = assembled(header, data + bytes(4))
    files["data-absent"] = assembled(header, b"")
    return files


def broken_models():
    fields = {
        "sizes": {
            "1e8": "[1, 100000000, 1]",  # 1.2 GB, which a machine may have
            "1e9": "[1000000000, 1000000000, 1]",
            "wrap-to-0": f"[{2**32}, {2**32}, {2**32}]",
            "negative": "[-2, 3, 1]",
            "of-4000-digits": f"[2, 3, 1{'0' * 2500}]",
            "fraction": "[2.0, 3, 1]",
            "two": "[2, 3]",
            "object": "{}",
            "nan": "[NaN, 3, 1]",
            "nested": "[" * 3000,
            "not-json": "(2, 3, 1)",
            "others": "[2, 4, 1]",
        },
        "dtype": {
            "other": "float64",
            "object": "object",
            "of-fields": "f4,(1,)i4",
            "no-syntax": "(1 1)f4,i4",  # NumPy has Python read it
            "deprecated": "a",
            "empty": "",
        },
        "feature_names": {"object": "{}", "numbers": "[1, 2]", "null": '["a", null]', "nested": "[" * 3000},
        "activations": {
            "none": "[]",
            "two": '["relu", "relu"]',
            "other": '["sine"]',
            "text": '"relu"',
            "number": "[1]",
            "null": "null",
        },
        "objective": {
            "other": '["hinge", {}]',
            "text": '"huber"',
            "delta-0": '["huber", {"delta": 0}]',
            "other-field": '["huber", {"name": "squared_error"}]',
            "levels": '["quantile", {"levels": [0.1, 0.9]}]',
            "object": "{}",
        },
        "format_version": {"newer": "9", "empty": "", "fraction": "1.0"},
        "format": {"other": "fastmlp checkpoint", "empty": ""},
    }
    files = {
        f"model-{field}-{what}": changed(model(), metadata={field: text})
        for field, texts in fields.items()
        for what, text in texts.items()
    }
    for absent in ("sizes", "dtype", "feature_names", "format", "2.bias"):
        files[f"model-without-{absent}"] = changed(model(), absent=[absent])
    tensors = safetensors.numpy.load(model())
    others = {
        "shapes-do-not-chain": {"2.weight": np.ones((1, 4), np.float32)},
        "transposed": {"0.weight": np.ascontiguousarray(tensors["0.weight"].T)},
        "flat": {"0.weight": tensors["0.weight"].ravel()},
        "one-tensor-more": {"4.bias": np.ones(1, np.float32)},
        "half-float64": {"0.weight": tensors["0.weight"].astype("float64")},
        "all-float64": {name: tensor.astype("float64") for name, tensor in tensors.items()},
    }
    return files | {f"model-{what}": changed(model(), tensors=tensor) for what, tensor in others.items()}


def broken_checkpoints():
    cut_off = checkpoint(cut_off=True)
    states = {
        "fit-epoch-beyond": {("fit", "epoch"): 3},
        "fit-epoch-not-the-curve's": {("fit", "epoch"): 0, ("fit", "best_epoch"): -1},
        "fit-epochs-2**64": {("fit", "epochs"): 2**64},
        "fit-best-epoch-beyond": {("fit", "best_epoch"): 1},
        "fit-best-epoch-other": {("history", 0): None},
        "fit-best-loss-nan": {("fit", "best_loss"): np.nan},
        "fit-best-loss-text": {("fit", "best_loss"): "1.0"},
        "fit-best-loss-not-the-curve's": {("fit", "best_loss"): 0.5},
        "fit-threshold-nan": {("fit", "divergence_threshold"): np.nan},  # no loss would be above it
        "fit-threshold-text": {("fit", "divergence_threshold"): "1e13"},
        "fit-threshold-negative": {("fit", "divergence_threshold"): -1.0},
        "fit-patience-0": {("fit", "patience"): 0},
        "fit-every-0": {("fit", "checkpoint_every"): 0},
        "fit-every-list": {("fit", "checkpoint_every"): []},
        "fit-without-history": {("history",): None},
        "fit-without-data": {("data",): None},
        "history-text": {("history",): "ab"},
        "history-empty": {("history",): []},
        "history-stopped": {("history", 1): "stopped"},
        "history-best-epoch-text": {("history", 0): "0"},
        "data-empty-entry": {("data", 4): []},
        "data-entry-0": {("data", 4): 0},
        "fit-unknown-data": {("data", 0): "unknown"},
        "objective-of-none": {("objective",): ["hinge", {}]},
        "objective-delta": {("objective",): ["huber", {"delta": 0}]},
        "objective-code": {("objective",): ["squared_error", {"__class__": "os"}]},
        "activation-of-none": {("activations",): ["sine"]},
        "activations-two": {("activations",): ["relu", "relu"]},
        "schedule-of-none": {("schedule",): ["sine", {}]},
        "schedule-forever": {("schedule",): ["warmup", {"fraction": 2, "then": ["cosine", {}]}]},
        "data-text": {("data", 0): "12"},
        "data-four": {("data",): [None] * 4},
        "steps-negative": {("steps",): -1},
        "steps-2**63": {("steps",): 2**63},
        "optimizer-code": {("optimizer", 0): "__import__"},
        "optimizer-other-fields": {("optimizer", 0): "sgd"},
        "optimizer-field-class": {("optimizer", 1, "__class__"): 1},
        "optimizer-rate-1e400": {("optimizer", 1, "learning_rate"): 10**400},
        "optimizer-rate-nan": {("optimizer", 1, "learning_rate"): np.nan},
        "dtype-no-syntax": {("dtype",): "(1 1)f4,i4"},
        "dtype-deprecated": {("dtype",): "a"},
        "sizes-1e8": {("sizes",): [1, 10**8, 1]},
        "sizes-1e9": {("sizes",): [10**9, 10**9, 1]},
        "sizes-do-not-chain": {("sizes",): [2, 4, 1]},
        "random-other": {("random", "bit_generator"): "seed"},
        "random-2**128": {("random", "state", "state"): 2**128},
        "random-fraction": {("random", "state", "state"): 1.5},
        "random-even": {("random", "state", "inc"): 0},
        "random-of-another": {("random", "bit_generator"): "MT19937"},
    }
    files = {name: changed(cut_off, state=state) for name, state in states.items()}
    tensors = {
        "curve-2-d": {"loss": np.ones((1, 1))},
        "curve-of-integers": {"loss": np.ones(1, np.int64)},
        "curve-float32": {"loss": np.ones(1, np.float32)},
        "curves-of-other-lengths": {"seconds": np.ones(2)},
        "curve-of-no-validation": {"validation_loss": np.ones(1)},
        "moments-flat": {"moments": np.zeros(26, np.float32)},
        "network-float64": {"network": np.zeros(13)},
        "best-shorter": {"best": np.zeros(12, np.float32)},
        "published-flat": {"published": np.zeros(26, np.float32)},
        "scaling-part": {"mean_x": np.ones(2)},
    }
    files |= {name: changed(cut_off, tensors=tensor) for name, tensor in tensors.items()}
    scaled = checkpoint(cut_off=True, standardize=True, optimizer="sgd")
    for name, scales in {"0": [0.0, 1.0], "negative": [-1.0, 1.0], "nan": [np.nan, 1.0]}.items():
        files[f"scale-{name}"] = changed(scaled, tensors={"scale_x": np.array(scales)})
    for absent in ("network", "moments", "loss", "best", "scale_y", "state"):
        files[f"without-{absent}"] = changed(scaled, absent=[absent])
    files["random-stuck-MT19937"] = stuck("MT19937")
    files["random-stuck-PCG64"] = stuck("PCG64")
    key, position = ("random", "state", "key"), ("random", "state", "pos")
    files["random-position"] = changed(stuck("MT19937"), state={key: [1] * 624, position: 625})
    files["random-key-short"] = changed(stuck("MT19937"), state={key: [1] * 623})
    philox = checkpoint(bit_generator="Philox")
    files["random-buffer-position"] = changed(philox, state={("random", "buffer_pos"): -1})
    files["random-key-longer"] = changed(philox, state={("random", "state", "key"): [1, 2, 3]})
    files["newer"] = changed(cut_off, metadata={"format_version": "9"})
    files["nested"] = changed(cut_off, metadata={"state": "[" * 3000})
    files["not-json"] = changed(cut_off, metadata={"state": "{'sizes': [2, 3, 1]}"})
    return {f"checkpoint-{name}": content for name, content in files.items()}


# The fuzzer.


def fuzz(arguments):
    """Give libFuzzer its arguments, the seeds and the target; it ends the process."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + ADDRESS_SPACE, hard))
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    seeds = folder / "seeds"
    write_files(seeds, forged())
    path = folder / "file"
    again = folder / "again"  # libFuzzer starts its first argument anew to merge folders
    again.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    again.chmod(0o755)

    def target(content):
        path.write_bytes(content)
        used(path)

    atheris.Setup([str(again), *arguments, str(seeds)], target, custom_mutator=mutated)
    atheris.Fuzz()


def address_space():
    """Bytes of addresses that this process has in use (Linux)."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def write_files(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def mutated(content, max_size, seed):
    """Another file: with other bytes, or with other values in its parts and the digest that fits."""
    rng = random.Random(seed)
    changes = {mutated_data: 1, mutated_entry: 1, mutated_text: 2, mutated_state: 4}
    (change,) = rng.choices(list(changes), changes.values())
    if rng.random() < 0.8:
        with contextlib.suppress(Exception):  # it has no such parts any more
            return sealed(*change(*parted(content), rng))[:max_size]
    return atheris.Mutate(content, max_size)


def mutated_data(header, data, rng):
    return header, atheris.Mutate(data, len(data)).ljust(len(data), b"\0") if data else data


def mutated_entry(header, data, rng):
    """Another value somewhere in the header: a shape, an offset, a type, a name."""
    return with_another_value(header, rng), data


def mutated_text(header, data, rng):
    """Other text in the metadata."""
    metadata = header["__metadata__"]
    name = rng.choice(sorted(metadata))
    text = atheris.Mutate(metadata[name].encode(), 2 * len(metadata[name]) + 8).decode(errors="replace")
    return header | {"__metadata__": metadata | {name: text}}, data


def mutated_state(header, data, rng):
    """Another value somewhere in the JSON that the metadata hold."""
    metadata = header["__metadata__"]
    name = rng.choice([name for name in metadata if metadata[name][:1] in ("{", "[")] or [""])
    value = json.loads(metadata[name])
    for _ in range(rng.randint(1, 2)):
        value = with_another_value(value, rng)
    return header | {"__metadata__": metadata | {name: json.dumps(value)}}, data


NUMBERS = (-1, 0, 1, 2, 3, 1.5, np.nan, np.inf, 2**32, 2**52, 2**63, 2**64, 2**128, 10**400)
TEXTS = ("", "text", "1", "sgd", "adamw", "float64", "MT19937", "Philox", "SFC64")
VALUES = (None, True, *NUMBERS, *TEXTS, [], [0], [[]], {}, {"a": 1})


def with_another_value(root, rng):
    """A copy of a JSON value with something in it replaced, changed a little, removed or added."""
    root = copy.deepcopy(root)
    *way, last = rng.choice(list(places(root)))
    parent = functools.reduce(lambda node, key: node[key], way, root)
    old = parent[last]
    what = rng.random()
    if what < 0.1:
        del parent[last]
    elif what < 0.3 and isinstance(old, int | float):
        parent[last] = old + rng.choice([-1, 1, 0.5, old, -2 * old])
    elif what < 0.4 and isinstance(old, list):
        old.append(rng.choice(VALUES))
    elif what < 0.6:
        parent[last] = json.loads(atheris.Mutate(json.dumps(old).encode(), 200).decode(errors="replace"))
    else:
        parent[last] = rng.choice(VALUES)
    return root


if __name__ == "__main__":
    if FUZZING:
        fuzz(sys.argv[1:])
    whole = {name: content for name, content in forged().items() if name.startswith("taken")}
    write_files(CORPUS, whole)
