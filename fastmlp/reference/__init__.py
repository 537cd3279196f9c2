"""The mathematics in plain NumPy: the specification that the compiled kernels are tested against.

- `chain`: networks of any depth, every activation and objective. `forward` and `loss_and_gradients` here have
  the signatures of those in `fastmlp.kernels`.
- `derivation`: the exercise sheet's network, node by node, A … L. `graph` gives every node.
- `training`: the steps of the optimizers, the penalty, the order of the rows, an epoch.
- `bounds`: how far two correct calculations may lie apart.

Nothing here is checked or optimised, and nothing that trains or predicts imports it.
"""

from fastmlp.reference.bounds import error_bounds
from fastmlp.reference.chain import forward, loss_and_gradients
from fastmlp.reference.derivation import graph
from fastmlp.reference.training import adam_step, clipped, penalty, permutation, sgd_step, train_epoch

__all__ = [
    "adam_step",
    "clipped",
    "error_bounds",
    "forward",
    "graph",
    "loss_and_gradients",
    "penalty",
    "permutation",
    "sgd_step",
    "train_epoch",
]
