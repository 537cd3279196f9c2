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
def started_helpers() -> int: ...
def fold(
    first: np.ndarray,
    last: np.ndarray,
    mean_x: np.ndarray,
    scale_x: np.ndarray,
    mean_y: np.ndarray,
    scale_y: np.ndarray,
) -> None: ...

class CompiledNetwork:
    sizes: tuple[int, ...]
    fast_paths: tuple[str, ...]
    def __new__(
        cls,
        sizes: tuple[int, ...],
        activations: tuple[str, ...],
        objective: tuple,
        allowed: int,
        caches: tuple[int, int],
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
    def __new__(
        cls, network: CompiledNetwork, purpose: int, rows: int, n_threads: int, all_rows: int = 0
    ) -> Self: ...

class FitLoop:
    learning_rate: float
    def __init__(
        self,
        network: CompiledNetwork,
        training: tuple[np.ndarray, np.ndarray, np.ndarray | None],
        validation: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None,
        state: Any,
        fit: Any,
        history: Any,
        folding: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None,
        *,
        optimizer: dict[str, Any],
        schedule: dict[str, Any],
        batch_size: int,
        bit_generator: np.random.BitGenerator | None,
        lock: Any,
        baseline_loss: float,
        threads: int,
    ) -> None: ...
    def run(self, epochs: int) -> str | None: ...
    def judge(self, value: float) -> str | None: ...
    def publish(self) -> None: ...
    def is_published(self) -> bool: ...
    def finish(self) -> None: ...
