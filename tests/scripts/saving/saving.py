"""A save of one kind, always the same but for its seed, and how it ends."""

import sys

import fastmlp


def saving(kind, seed, hidden=4):
    "What writes a file of this kind to a path."
    net = fastmlp.MLP((3, hidden, 1), seed=seed)
    if kind == "model":
        return net.save
    trainer = fastmlp.Trainer(net, seed=seed, standardize=True)
    trainer.fit(*fastmlp.load_titanic(), epochs=2)
    return trainer.save_checkpoint


def told(save, path):
    "How a save ends, in a line."
    try:
        save(path)
    except OSError as error:
        return f"{type(error).__name__}, {error.errno}, {error.filename}"
    return "saved"


kind, path = sys.argv[1:3]
