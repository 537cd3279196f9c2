# The private interface of every (build, dtype) module; the others' stubs refer to this one.
from typing import Any, Self

import numpy as np

predict_pointer: object
loss_and_gradients_pointer: object

def forward(X: np.ndarray, W1: np.ndarray, W2: np.ndarray, out: np.ndarray, threads: int) -> None: ...
def loss_and_gradients(
    X: np.ndarray,
    Y: np.ndarray,
    w: np.ndarray | None,
    W1: np.ndarray,
    W2: np.ndarray,
    dW1: np.ndarray | None,
    dW2: np.ndarray | None,
    threads: int,
) -> float: ...
def predict_few(X: Any, parameters: np.ndarray, d: int, h: int, m: int) -> np.ndarray | None: ...
def multiply_adds(rounds: int) -> Any: ...

class ThreadTeam:
    def __new__(cls, threads: int) -> Self: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *exception: object) -> None: ...
    def worker_main(self, thread: int) -> None: ...

class Workspace:
    def __new__(cls, d: int, h: int, m: int, rows: int, threads: int) -> Self: ...

class FitLoop:
    epoch: int
    best_epoch: int
    best_loss: float
    improved_epoch: int
    improved_loss: float
    divergence_threshold: float
    def __init__(
        self,
        training: tuple[np.ndarray, np.ndarray, np.ndarray | None],
        validation: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None,
        parameters: np.ndarray,
        moments: np.ndarray,
        best: np.ndarray,
        units: np.ndarray,
        sizes: tuple[int, int, int],
        *,
        optimizer: dict[str, Any],
        batch_size: int,
        bit_generator: np.random.BitGenerator | None,
        max_epochs: int,
        patience: int,
        min_delta: float,
        judged_outside: bool,
        lock: Any,
        mean_square: float,
        threads: int,
        epoch: int,
        best_epoch: int,
        best_loss: float,
        improved_epoch: int,
        improved_loss: float,
        limit: float,
    ) -> None: ...
    @property
    def steps(self) -> int: ...
    @property
    def running_loss(self) -> float: ...
    @property
    def validates(self) -> bool: ...
    @property
    def diverged(self) -> bool: ...
    def judge(self, value: float) -> str | None: ...
    def sound(self) -> bool: ...
    def closing_loss(self) -> float: ...
    def run(self, losses: np.ndarray, validation_losses: np.ndarray) -> str | None: ...
