# The private interface of every (build, dtype) module; the others' stubs refer to this one.
from typing import Any, Self

import numpy as np

ACTIVATIONS: tuple[str, ...]
OBJECTIVES: tuple[str, ...]
LINKS: tuple[str, ...]
SCHEDULES: tuple[str, ...]
FAST_PATHS: tuple[str, ...]
ELEMENTWISE: tuple[str, ...]
predict_pointer: object
loss_and_gradients_pointer: object

def multiply_adds(rounds: int) -> Any: ...
def elementwise(name: str, x: np.ndarray) -> np.ndarray: ...

class ThreadTeam:
    def __new__(cls, threads: int) -> Self: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *exception: object) -> None: ...
    def worker_main(self, thread: int) -> None: ...

class CompiledNetwork:
    sizes: tuple[int, ...]
    fast_paths: tuple[str, ...]
    def __new__(
        cls, sizes: tuple[int, ...], activations: tuple[str, ...], objective: tuple, allowed: int
    ) -> Self: ...
    @property
    def layout(self) -> str: ...
    @property
    def pointer(self) -> Any: ...
    def predict(self, X: Any, parameters: np.ndarray, raw: bool, n_threads: int) -> np.ndarray | None: ...
    def loss_and_gradients(
        self,
        X: np.ndarray,
        Y: np.ndarray,
        w: np.ndarray | None,
        parameters: np.ndarray,
        gradient: np.ndarray | None,
        n_threads: int,
    ) -> float: ...

class Workspace:
    def __new__(cls, network: CompiledNetwork, purpose: int, rows: int, n_threads: int) -> Self: ...

class FitLoop:
    epoch: int
    best_epoch: int
    best_loss: float
    improved_epoch: int
    improved_loss: float
    divergence_threshold: float
    def __init__(
        self,
        network: CompiledNetwork,
        training: tuple[np.ndarray, np.ndarray, np.ndarray | None],
        validation: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None,
        parameters: np.ndarray,
        moments: np.ndarray,
        best: np.ndarray,
        *,
        optimizer: dict[str, Any],
        schedule: dict[str, Any],
        batch_size: int,
        bit_generator: np.random.BitGenerator | None,
        max_epochs: int,
        patience: int,
        min_delta: float,
        judged_outside: bool,
        lock: Any,
        baseline_loss: float,
        threads: int,
        epoch: int,
        best_epoch: int,
        best_loss: float,
        improved_epoch: int,
        improved_loss: float,
        divergence_threshold: float,
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
