"""Checkpoints: a FitState in one safetensors file, and back.

Arrays are tensors, numbers and names a JSON object in the metadata (Python writes floats so that they come
back to the bit). Nothing in a file is code, and the names in it choose only from tables of this package.
"""

import json
import os
from dataclasses import asdict

import numpy as np

from fastmlp import _checks, activations, kernels, objectives, optimizers, scaling, schedules
from fastmlp.io import files
from fastmlp.io.model_file import parse_dtype, parse_names
from fastmlp.network import MLP
from fastmlp.penalties import L2
from fastmlp.training.data import NAMES, Fingerprint
from fastmlp.training.settings import Settings
from fastmlp.training.state import STOP_REASONS, Fit, FitState, History

FORMAT = "fastmlp checkpoint"
VERSIONS = (2,)
BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
DATA = tuple(name for names in NAMES for name in names)
SETTINGS = ("batch_size", "l2", "clip_norm", "shuffle", "standardize")  # of Trainer, as JSON takes them
CURVES = ("loss", "validation_loss", "seconds", "monitor")
SCALES = ("mean_x", "scale_x", "mean_y", "scale_y")
FIT = (  # fields of Fit, without its arrays
    *("epochs", "patience", "min_delta", "checkpoint_every", "monitored", "epoch", "divergence_threshold"),
    *("best_epoch", "best_loss", "improved_epoch", "improved_loss"),
)


def save(path, state):
    """Write a FitState: everything `Trainer.resume` needs. `Trainer.save_checkpoint` says the rest."""
    net, settings, fit, history = state.network, state.settings, state.fit, state.history
    prints = state.fingerprints
    described = {
        "sizes": net.sizes,
        "activations": net.activations,
        "objective": objectives.described(net.objective),
        "dtype": str(net.dtype),
        "trained": net.trained,
        "feature_names": net.feature_names,
        "target_names": net.target_names,
        "optimizer": [type(settings.optimizer).__name__.lower(), asdict(settings.optimizer)],
        "schedule": schedules.described(settings.schedule),
        **{name: getattr(settings, name) for name in SETTINGS},
        "caches": state.caches,
        "steps": state.steps,
        "velocity_rate": state.velocity_rate,
        "random": _random_state(state.bit_generator),
        "data": prints and [entry and entry.value for entry in prints],
        "history": None if history is None else [history.best_epoch, history.stop_reason],
        "fit": None if fit is None else {name: getattr(fit, name) for name in FIT},
    }
    tensors = {"network": net.parameters, "moments": state.moments}
    if state.scaling is not None:
        tensors |= asdict(state.scaling)  # SCALES, and which features are constant
    if state.published is not None:
        tensors["published"] = state.published
    if history is not None:
        tensors |= {name: np.array(getattr(history, name), dtype=np.float64) for name in CURVES}
    if fit is not None:
        tensors |= {"parameters": fit.parameters, "best": fit.best}
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSIONS[-1]),
        "state": json.dumps(described, default=_plain_number),
    }
    files.save_tensors(path, tensors, metadata)


def load(path):
    """Return the FitState of a file that `save` wrote."""

    def build(tensors, metadata):
        return _state(json.loads(metadata["state"]), tensors)

    return files.load_tensors(path, FORMAT, VERSIONS, build)


def check_overwrite(path):
    """Raise if there is a file that a new fit's checkpoint must not replace."""
    if not os.path.exists(path):
        return
    try:
        fit = load(path).fit
    except ValueError as error:
        raise FileExistsError(f"checkpoint: {error}; choose another name, or remove it") from None
    if fit is not None:
        raise FileExistsError(
            f"checkpoint: {os.fspath(path)} contains an unfinished fit ({fit.epoch} of {fit.epochs} epochs); "
            "continue it with Trainer.resume, or remove the file"
        )


def check_same_data(path, state, data):
    """Raise where a FitData is not what the checkpoint's fit has seen (if there was one)."""
    if state.fingerprints is None:
        return
    for name, fingerprint, given in zip(DATA, state.fingerprints, data.fingerprints, strict=True):
        old, new = fingerprint and fingerprint.value, given and given.value
        if old and new and old[1] is None:  # nobody asked while the data were there
            new = [new[0], None]
        if old != new:
            was, now = ("None" if data is None else f"of shape {tuple(data[0])}" for data in (old, new))
            hint = "; the numbers differ" if was == now else ""
            raise ValueError(
                f"{name}: not the data of the checkpoint {os.fspath(path)}: there {was}, here {now}{hint}"
            )


def check_expected(path, state, expected):
    """Raise where a setting is not as expected."""
    net, settings, fit = state.network, state.settings, state.fit
    found = {"sizes": net.sizes, "activation": net.activations, "objective": net.objective}
    found |= {"dtype": net.dtype, "optimizer": settings.optimizer, "schedule": settings.schedule}
    found |= {"learning_rate": settings.optimizer.learning_rate}
    found |= {name: getattr(settings, name) for name in SETTINGS}
    found |= {name: getattr(fit, name, None) for name in FIT[:4]}
    for name, wanted in expected.items():
        if name not in found:
            raise TypeError(f"{name}: a checkpoint has no such setting; it has {', '.join(found)}")
        has = found[name]
        if isinstance(wanted, str) and name == "optimizer":
            has = type(settings.optimizer).__name__.lower()
        if name == "activation":
            wanted = activations.resolve(wanted, len(net.sizes) - 2)
        if name == "objective":
            wanted = objectives.resolve(wanted)
        if name == "schedule":
            wanted = schedules.resolve(wanted)
        if has != (tuple(wanted) if name == "sizes" else wanted):
            raise ValueError(f"{name}: the checkpoint {os.fspath(path)} has {found[name]!r}, not {wanted!r}")


def _state(described, tensors):
    sizes, dtype = _checks.sizes(described["sizes"]), parse_dtype(described["dtype"])
    # before anything of this size is made
    parameters = _tensor(tensors, "network", dtype, kernels.n_parameters(sizes))
    objective = objectives.from_description(described["objective"])
    net = MLP._like(parameters, sizes, tuple(described["activations"]), objective, dtype)
    net.trained = bool(described["trained"])
    net.feature_names = parse_names(described["feature_names"])
    net.target_names = parse_names(described["target_names"])
    state = FitState(
        net,
        _settings(described, dtype),
        moments=_tensor(tensors, "moments", dtype, 2, net.parameters.size),
        bit_generator=_bit_generator(described["random"]),
        caches=_caches(described["caches"]),
        steps=_integer(described, "steps", 0, 2**53),
        velocity_rate=_checks.number("velocity_rate", described["velocity_rate"], 0, np.inf),
        scaling=_scaling(tensors, sizes) if "mean_x" in tensors else None,
        published=_tensor(tensors, "published", dtype, 2, net.parameters.size)
        if "published" in tensors
        else None,
        fingerprints=_fingerprints(described["data"]),
        history=None if described["history"] is None else _history(*described["history"], tensors),
    )
    if described["fit"] is not None:
        state.fit = _fit(described["fit"], tensors, state)
    return state


def _settings(described, dtype):
    name, fields = described["optimizer"]
    given = {name: described[name] for name in SETTINGS}
    if isinstance(given["l2"], dict):
        given["l2"] = L2(**given["l2"])
    return Settings.checked(
        dtype,
        optimizer=optimizers.OPTIMIZERS[name](**fields),
        schedule=schedules.from_description(described["schedule"]),
        n_threads=None,
        **given,
    )


def _plain_number(value):
    """What JSON takes in place of a NumPy scalar, a fraction or a penalty."""
    if isinstance(value, L2):
        return vars(value)
    return value.item() if isinstance(value, np.generic) else float(value)


def _scaling(tensors, sizes):
    d, m = sizes[0], sizes[-1]
    shapes = zip(SCALES, (d, d, m, m), strict=True)
    parts = [_tensor(tensors, scale, np.float64, n) for scale, n in shapes]
    if not all(np.isfinite(part).all() for part in parts) or min(*parts[1], *parts[3]) <= 0:
        raise ValueError(f"{', '.join(SCALES)}: must be finite, and the scales above 0")
    return scaling.Scaling(*parts, _tensor(tensors, "constant", np.bool_, d))


def _history(best_epoch, stop_reason, tensors):
    epochs, validated, monitored = (len(tensors[name]) for name in ("loss", "validation_loss", "monitor"))
    if not {validated, monitored} <= {0, epochs}:
        raise ValueError(f"its curves have {epochs}, {validated} and {monitored} epochs")
    lengths = zip(CURVES, (epochs, validated, epochs, monitored), strict=True)
    curves = [_tensor(tensors, name, np.float64, length).tolist() for name, length in lengths]
    if best_epoch is not None:
        _integer({"best_epoch": best_epoch}, "best_epoch", 0, epochs - 1)
    if stop_reason is not None and stop_reason not in STOP_REASONS:
        raise ValueError(f"stop_reason: {stop_reason!r} is none of {STOP_REASONS}")
    return History(*curves, best_epoch, stop_reason)


def _fit(told, tensors, state):
    history, data = state.history, state.fingerprints
    if history is None or data is None or any(entry and entry.value[1] is None for entry in data):
        raise ValueError("an unfinished fit, without its history or its data")
    epoch, validated, monitored = len(history.loss), len(history.validation_loss), told["monitored"]
    judged = history.monitor if monitored else history.validation_loss or history.loss
    best_epoch, best_loss = -1, np.inf
    if history.best_epoch is not None:
        best_epoch = history.best_epoch
        best_loss = judged[best_epoch]
    found = [told["epoch"], told["best_epoch"], told["best_loss"], validated, len(history.monitor)]
    if found != [epoch, best_epoch, best_loss, epoch if data[3] else 0, epoch if monitored else 0]:
        raise ValueError("its fit is not where its history ends")
    improved_epoch = _integer(told, "improved_epoch", -1, epoch - 1)
    improved_loss = np.inf if improved_epoch < 0 else judged[improved_epoch]
    if told["improved_loss"] != improved_loss:
        raise ValueError("its last improvement is not in its history")
    threshold = told["divergence_threshold"]
    if type(threshold) is not float or not threshold >= 0:
        raise ValueError(f"divergence_threshold: {threshold!r}, where a float >= 0 is needed")
    size, dtype = state.network.parameters.size, state.network.dtype
    return Fit(
        epochs=_integer(told, "epochs", max(epoch, 1)),  # all of them in the last call of a callback
        patience=None if told["patience"] is None else _integer(told, "patience", 1),
        min_delta=_checks.number("min_delta", told["min_delta"], 0, np.inf),
        checkpoint_every=None if told["checkpoint_every"] is None else _integer(told, "checkpoint_every", 1),
        monitored=bool(monitored),
        parameters=_tensor(tensors, "parameters", dtype, size),
        best=_tensor(tensors, "best", dtype, size),
        epoch=epoch,
        best_epoch=best_epoch,
        best_loss=best_loss,
        improved_epoch=improved_epoch,
        improved_loss=improved_loss,
        divergence_threshold=threshold,
    )


def _tensor(tensors, name, dtype, *shape):
    array = tensors[name]
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"tensor {name}: {array.dtype} {array.shape}, where {dtype} {shape} is needed")
    return array.copy()  # writable and aligned, whatever the reader gave


def _caches(sizes):
    if not isinstance(sizes, list) or len(sizes) != 2:
        raise ValueError(f"caches: {sizes!r}, where the bytes of two levels are needed")
    return tuple(_integer({"caches": size}, "caches", 1) for size in sizes)


def _fingerprints(seen):
    if seen is None:
        return None
    if len(seen) != len(DATA):
        raise ValueError(f"fingerprints of {len(seen)} arrays, where {len(DATA)} are needed")
    return [None if entry is None else _fingerprint(entry) for entry in seen]


def _fingerprint(entry):
    shape, checksum = entry
    fingerprint = Fingerprint.__new__(Fingerprint)
    fingerprint.__setstate__([[int(n) for n in shape], None if checksum is None else int(checksum)])
    return fingerprint


def _integer(state, name, low, high=2**53):
    value = state[name]
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name}: {value!r}, where an integer in [{low}, {high}] is needed")
    return value


def _random_state(bit_generator):
    """The state of a bit generator as JSON takes it."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    with bit_generator.lock:  # another thread may be drawing
        state = plain(bit_generator.state)
    if state["bit_generator"] not in BIT_GENERATORS:
        raise ValueError(
            f"seed: a checkpoint can hold {', '.join(BIT_GENERATORS)}, not a {state['bit_generator']}"
        )
    return state


def _bit_generator(state):
    """The bit generator of a state."""
    name = state["bit_generator"]
    if name not in BIT_GENERATORS:
        raise ValueError(f"{name!r} is none of the bit generators {', '.join(BIT_GENERATORS)}")
    # NumPy uses these as indices without a look at them
    for place, end in ((state["state"].get("pos", 0), 624), (state.get("buffer_pos", 0), 4)):
        if type(place) is not int or not 0 <= place <= end:
            raise ValueError(f"{name} at position {place!r} of {end}")
    bit_generator = getattr(np.random, name)(0)
    bit_generator.state = state
    if _random_state(bit_generator) != state:  # NumPy cuts off what does not fit
        raise ValueError(f"{name}: not a state of it")
    # Unreachable states (an all-zero MT19937, an even increment of PCG): they repeat one number, and the
    # rejection loop of the shuffle would never end.
    inner = state["state"]
    still = name == "MT19937" and inner["key"][0] < 2**31 and not any(inner["key"][1:])
    if still or inner.get("inc", 1) % 2 == 0:
        raise ValueError(f"{name}: a state that it cannot be in")
    return bit_generator
